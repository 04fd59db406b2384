//! PAX extended headers: records of `LENGTH KEY=VALUE\n`, both ways. Pure.
//!
//! Spec: POSIX `pax`, "pax Extended Header"; vendor keys `SCHILY.xattr.*` (all of today's tools) and `LIBARCHIVE.xattr.*`.

use silt_store::Time;

use super::error::MemberError;

/// Splits an extended header into its records; an empty value means the key is unset.
pub(super) fn records(mut bytes: &[u8]) -> impl Iterator<Item = Result<(&[u8], &[u8]), MemberError>> {
    std::iter::from_fn(move || {
        // Some writers pad with NULs.
        if bytes.iter().all(|byte| *byte == 0) {
            return None;
        }
        let record = split(bytes);
        if let Some((_, _, rest)) = record {
            bytes = rest;
        } else {
            bytes = &[];
        }
        Some(record.map(|(key, value, _)| (key, value)).ok_or(MemberError::Pax))
    })
}

fn split(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().take(21).position(|byte| *byte == b' ')?;
    let length: usize = std::str::from_utf8(&bytes[..space]).ok()?.parse().ok()?;
    let record = bytes.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    let (key, value) = (&record[..equals], &record[equals + 1..]);
    (!key.is_empty()).then_some((key, value, &bytes[length..]))
}

/// Appends one record.
pub(super) fn push(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    // The length counts its own digits.
    let body = key.len() + value.len() + 3;
    let mut length = body + 1;
    while body + decimal_len(length) != length {
        length = body + decimal_len(length);
    }
    out.extend_from_slice(length.to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

fn decimal_len(number: usize) -> usize {
    number.checked_ilog10().unwrap_or(0) as usize + 1
}

/// Parses `seconds[.fraction]`, which may be negative; digits beyond nanoseconds are dropped.
pub(super) fn time(value: &[u8]) -> Option<Time> {
    let text = std::str::from_utf8(value).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let negative = whole.starts_with('-');
    let seconds: i64 = if matches!(whole, "" | "-") {
        0
    } else {
        whole.parse().ok()?
    };
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let nanos = fraction
        .bytes()
        .chain(std::iter::repeat(b'0'))
        .take(9)
        .fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    if negative && nanos > 0 {
        let seconds = seconds.checked_sub(1)?;
        return Some(Time {
            seconds,
            nanos: 1_000_000_000 - nanos,
        });
    }
    Some(Time { seconds, nanos })
}

/// Writes a time as `time` reads it, without trailing zeros.
pub(super) fn write_time(time: Time) -> String {
    if time.nanos == 0 {
        return time.seconds.to_string();
    }
    let (sign, seconds, nanos) = if time.seconds < 0 {
        ("-", time.seconds.unsigned_abs() - 1, 1_000_000_000 - time.nanos)
    } else {
        ("", time.seconds.unsigned_abs(), time.nanos)
    };
    let text = format!("{sign}{seconds}.{nanos:09}");
    text.trim_end_matches('0').into()
}

/// A name and a value.
type Pair = (Vec<u8>, Vec<u8>);

/// The attribute a record sets, if it is one, with its value decoded.
pub(super) fn xattr(key: &[u8], value: &[u8]) -> Option<Result<Pair, MemberError>> {
    if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
        return Some(Ok((name.into(), value.into())));
    }
    let name = key.strip_prefix(b"LIBARCHIVE.xattr.")?;
    Some(libarchive(name, value).ok_or(MemberError::Pax))
}

/// Names are URL-encoded and values base64 in libarchive's form.
fn libarchive(name: &[u8], value: &[u8]) -> Option<Pair> {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD_NO_PAD;
    let trimmed = value
        .iter()
        .rposition(|byte| *byte != b'=')
        .map_or(0, |last| last + 1);
    let value = STANDARD_NO_PAD.decode(&value[..trimmed]).ok()?;
    let mut decoded = Vec::new();
    let mut rest = name;
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first == b'%' {
            let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
            decoded.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &rest[2..];
        } else {
            decoded.push(*first);
        }
    }
    Some((decoded, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_written_as_they_are_read() {
        let long = vec![b'x'; 985];
        let pairs: [(&[u8], &[u8]); 5] = [
            (b"path", b"a"),
            (b"path", &long[..89]),
            (b"k", &long),
            (b"SCHILY.xattr.user.x", b"a=b\nc\0"),
            (b"uid", b""),
        ];
        let mut bytes = Vec::new();
        for (key, value) in pairs {
            push(&mut bytes, key, value);
        }
        let read: Vec<_> = records(&bytes).map(Result::unwrap).collect();
        assert_eq!(read, pairs);
        assert!(bytes.starts_with(b"9 path=a\n"));
    }

    #[test]
    fn malformed_records_are_errors() {
        for bad in [
            &b"x"[..],
            b"5 a=b",
            b"99 a=b\n",
            b"6 a=bc",
            b"4 a\n",
            b"5 =b\n",
            b"-1 a=b\n",
            b"0 a=b\n",
        ] {
            assert!(records(bad).any(|record| record.is_err()), "{bad:?}");
        }
    }

    #[test]
    fn times_keep_nanoseconds_before_and_after_the_epoch() {
        for (text, seconds, nanos) in [
            ("0", 0, 0),
            ("1350244992.023960108", 1_350_244_992, 23_960_108),
            ("12.5", 12, 500_000_000),
            ("-1", -1, 0),
            ("-1.5", -2, 500_000_000),
            ("-0.25", -1, 750_000_000),
        ] {
            let parsed = time(text.as_bytes()).unwrap();
            assert_eq!(parsed, Time { seconds, nanos }, "{text}");
            assert_eq!(write_time(parsed), text);
        }
        assert_eq!(time(b"1.0000000019").unwrap().nanos, 1);
        assert_eq!(time(b"1x"), None);
        assert_eq!(time(b"1.-5"), None);
    }

    #[test]
    fn both_forms_of_attributes_are_read() {
        let pair = xattr(b"LIBARCHIVE.xattr.user.a%20b", b"aGk=").unwrap().unwrap();
        assert_eq!(pair, (b"user.a b".to_vec(), b"hi".to_vec()));
        let pair = xattr(b"SCHILY.xattr.user.a", b"\0\xff").unwrap().unwrap();
        assert_eq!(pair, (b"user.a".to_vec(), b"\0\xff".to_vec()));
        assert!(xattr(b"LIBARCHIVE.xattr.%zz", b"").unwrap().is_err());
        assert!(xattr(b"mtime", b"1").is_none());
    }
}
