//! The notation of `RUN --mount`: comma-separated fields, amounts of bytes.

/// Comma-separated values: a field in double quotes may hold commas, and `""` for a quote.
pub(super) fn fields(text: &str) -> Vec<String> {
    let mut fields = Vec::new();
    let mut field = String::new();
    let mut is_quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if !is_quoted && field.is_empty() => is_quoted = true,
            '"' if is_quoted && chars.next_if_eq(&'"').is_some() => field.push('"'),
            '"' if is_quoted => is_quoted = false,
            ',' if !is_quoted => fields.push(std::mem::take(&mut field)),
            c => field.push(c),
        }
    }
    fields.push(field);
    fields
}

/// `64m`, `1.5GiB`, `1024`: powers of 1024.
pub(super) fn bytes(text: &str) -> Option<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let end = lower
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(lower.len());
    let (number, unit) = lower.split_at(end);
    let unit = unit.trim();
    let unit = unit
        .strip_suffix("ib")
        .or_else(|| unit.strip_suffix('b'))
        .unwrap_or(unit);
    let power = match unit {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return None,
    };
    let scale = 1024_u64.pow(power);
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(scale);
    }
    let number = number.parse::<f64>().ok().filter(|number| *number >= 0.0)?;
    #[expect(
        clippy::cast_precision_loss,
        reason = "a fraction of a unit is inexact anyway"
    )]
    let bytes = number * scale as f64;
    (bytes < 9e18).then_some(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, expected) in [
            ("1024", Some(1024)),
            ("64m", Some(64 << 20)),
            ("1GiB", Some(1 << 30)),
            ("1.5k", Some(1536)),
            ("2 mb", Some(2 << 20)),
            ("", None),
            ("x", None),
            ("-1", None),
            ("1x", None),
            ("99999999999999p", None),
        ] {
            assert_eq!(bytes(text), expected, "{text}");
        }
    }

    #[test]
    fn fields_may_be_quoted() {
        assert_eq!(
            fields(r#"type=bind,"target=/a,b",ro"#),
            ["type=bind", "target=/a,b", "ro"]
        );
        assert_eq!(fields(""), [""]);
    }
}
