//! Content against plain bytes: whole, in ranges, as a stream, its holes.

use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;

use proptest::prelude::*;
use silt_store::blob::{self, Segment};
use silt_store::{ChunkWriter, Content, Data, Store};

use crate::fixture::{memory, noise};

fn check(store: &Arc<dyn Store>, content: &Content, bytes: &[u8]) {
    assert_eq!(content.len, bytes.len() as u64);
    assert!(blob::read_all(store, content).unwrap() == bytes);
    let len = bytes.len();
    for (from, wanted) in [
        (0, 1),
        (len / 2, 100_000),
        (len.saturating_sub(5), 50),
        (len, 1),
        (len + 9, 1),
    ] {
        let mut buf = vec![0xee; wanted];
        let read = blob::read_at(store, content, from as u64, &mut buf).unwrap();
        let expected = &bytes[from.min(len)..(from + wanted).min(len).max(from.min(len))];
        assert!(buf[..read] == *expected, "read at {from}");
    }
    let mut reader = blob::Reader::new(Arc::clone(store), content.clone());
    let mut streamed = Vec::new();
    reader.read_to_end(&mut streamed).unwrap();
    assert!(streamed == bytes);
    reader.seek(SeekFrom::Start((len / 3) as u64)).unwrap();
    streamed.clear();
    reader.read_to_end(&mut streamed).unwrap();
    assert!(streamed == bytes[len / 3..]);

    let file = tempfile::NamedTempFile::new().unwrap();
    blob::fill(store, content, file.as_file()).unwrap();
    assert!(std::fs::read(file.path()).unwrap() == bytes);

    let segments = blob::segments(store, content).unwrap();
    let mut at = 0;
    for segment in &segments {
        assert_eq!(segment.offset, at);
        assert!(segment.len > 0);
        at += segment.len;
        if !segment.data {
            assert!(
                bytes[segment.offset as usize..at as usize]
                    .iter()
                    .all(|byte| *byte == 0)
            );
        }
    }
    assert_eq!(at, content.len);
    assert!(segments.windows(2).all(|pair| pair[0].data != pair[1].data));
    assert!(blob::present(store, content).unwrap());
}

#[test]
fn each_length_takes_its_form() {
    let store = memory();
    for (len, form) in [
        (0, "inline"),
        (128, "inline"),
        (129, "chunk"),
        (262_143, "chunk"),
        (262_144, "list"),
        (3_000_000, "list"),
    ] {
        let bytes = noise(len, 7);
        let content = blob::from_bytes(&store, &bytes).unwrap();
        let found = match content.data {
            Data::Inline(_) => "inline",
            Data::Chunk(_) => "chunk",
            Data::List(_) => "list",
        };
        assert_eq!(found, form, "{len} bytes");
        check(&store, &content, &bytes);
        let mut writer = ChunkWriter::new(&store);
        assert_eq!(writer.bytes(bytes.clone()).unwrap(), content);
        assert_eq!(writer.write(&mut &bytes[..], len as u64).unwrap(), content);
        writer.flush().unwrap();
    }
}

#[test]
fn holes_are_found_in_short_and_long_files_alike() {
    let store = memory();
    for len in [40_000u64, 1_000_000] {
        let mut bytes = vec![0; len as usize];
        bytes[0] = 1;
        let content = blob::from_bytes(&store, &bytes).unwrap();
        let expected = [
            Segment {
                offset: 0,
                len: 16_384,
                data: true,
            },
            Segment {
                offset: 16_384,
                len: len - 16_384,
                data: false,
            },
        ];
        assert_eq!(blob::segments(&store, &content).unwrap(), expected);
        check(&store, &content, &bytes);
    }
}

#[test]
fn a_changed_byte_in_a_large_file_stores_little_more() {
    let store = Arc::new(silt_store::MemoryStore::new());
    let mut bytes = noise(20_000_000, 1);
    blob::from_bytes(&store, &bytes).unwrap();
    let (before, _) = store.counts();
    bytes[10_000_000] ^= 1;
    blob::from_bytes(&store, &bytes).unwrap();
    let (after, _) = store.counts();
    assert!(after - before <= 4, "{} new chunks", after - before);
}

/// What `rewrite` gives, and how many bytes it read.
fn rewritten(
    store: &Arc<dyn Store>,
    base: &Content,
    bytes: &[u8],
    dirty: &[std::ops::Range<u64>],
) -> (Content, usize) {
    let mut total = 0;
    let mut read_at = |offset: u64, buf: &mut [u8]| {
        let rest = bytes.get(offset as usize..).unwrap_or_default();
        let len = rest.len().min(buf.len()).min(100_000);
        buf[..len].copy_from_slice(&rest[..len]);
        total += len;
        Ok(len)
    };
    let content = blob::rewrite(store, base, bytes.len() as u64, dirty, &mut read_at).unwrap();
    (content, total)
}

#[test]
fn a_page_changed_in_a_large_file_reads_little_of_it() {
    let store = memory();
    let mut bytes = noise(30_000_000, 3);
    let base = blob::from_bytes(&store, &bytes).unwrap();
    let page = 15_000_000..15_004_096;
    bytes[page.start as usize..page.end as usize].fill(7);
    let (content, read) = rewritten(&store, &base, &bytes, std::slice::from_ref(&page));
    assert_eq!(content, blob::from_bytes(&store, &bytes).unwrap());
    assert!(read < 3_000_000, "{read} bytes were read");
    bytes.extend_from_slice(b"appended");
    let (longer, read) = rewritten(&store, &content, &bytes, &[]);
    assert_eq!(longer, blob::from_bytes(&store, &bytes).unwrap());
    assert!(read < 1_000_000, "{read} bytes were read");
    let (same, read) = rewritten(&store, &longer, &bytes, &[]);
    assert_eq!((same, read), (longer, 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn content_comes_back_whatever_it_is_made_of(
        parts in prop::collection::vec((0usize..400_000, any::<bool>(), 0u64..4), 0..6),
        aligned in any::<bool>(),
    ) {
        let mut bytes = Vec::new();
        for (len, zeros, seed) in parts {
            let len = if aligned { len / 16_384 * 16_384 } else { len };
            bytes.extend(if zeros { vec![0; len] } else { noise(len, seed) });
        }
        let store = memory();
        let content = blob::from_bytes(&store, &bytes).unwrap();
        check(&store, &content, &bytes);
    }

    #[test]
    fn rewriting_gives_what_writing_gives(
        parts in prop::collection::vec((0usize..300_000, any::<bool>(), 0u64..4), 1..8),
        changes in prop::collection::vec((0usize..1000, 1usize..40_000, any::<bool>()), 0..4),
        resize in prop::option::of(0usize..1400),
    ) {
        let mut bytes = Vec::new();
        for (len, zeros, seed) in parts {
            bytes.extend(if zeros { vec![0; len] } else { noise(len, seed) });
        }
        let store = memory();
        let base = blob::from_bytes(&store, &bytes).unwrap();
        let mut dirty = Vec::new();
        for (from, len, zeros) in changes {
            let from = bytes.len() * from / 1000;
            let to = (from + len).min(bytes.len());
            let new = if zeros { vec![0; to - from] } else { noise(to - from, 9) };
            bytes[from..to].copy_from_slice(&new);
            dirty.push(from as u64..to as u64);
        }
        if let Some(factor) = resize {
            let len = bytes.len() * factor / 1000;
            bytes.resize(len, if len.is_multiple_of(2) { 0 } else { 5 });
        }
        dirty.sort_by_key(|range| range.start);
        let mut apart: Vec<std::ops::Range<u64>> = Vec::new();
        for range in dirty.into_iter().filter(|range| !range.is_empty()) {
            match apart.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => apart.push(range),
            }
        }
        let (content, _) = rewritten(&store, &base, &bytes, &apart);
        prop_assert_eq!(&content, &blob::from_bytes(&store, &bytes).unwrap());
        check(&store, &content, &bytes);
    }
}
