//! Records as bytes.
//!
//! In: a `Record`. Out: its bytes, and back. No effects. Spec: `store/DESIGN.md`, "Records".

use bytes::Bytes;

use crate::tree::encode;
use crate::tree::wire::{Reader, put_number};
use crate::{ContentId, Record, StoreResult, TreeId, TreeRef};

const VERSION: u8 = 1;

pub(super) fn encode(record: &Record) -> Bytes {
    let mut out = vec![VERSION];
    put_number(&mut out, record.roots.len() as u64);
    for root in &record.roots {
        out.extend_from_slice(root.tree.as_bytes());
        out.extend_from_slice(root.content.as_bytes());
    }
    put_number(&mut out, record.contents.len() as u64);
    for content in &record.contents {
        out.push(encode::content_kind(content));
        encode::put_content(&mut out, content);
    }
    out.extend_from_slice(&record.value);
    out.into()
}

pub(super) fn decode(bytes: &[u8]) -> StoreResult<Record> {
    let mut reader = Reader::new(bytes, "record");
    if reader.byte()? != VERSION {
        return Err(reader.malformed("it is of an unknown version"));
    }
    let mut record = Record::default();
    for _ in 0..reader.number()? {
        record.roots.push(TreeRef {
            tree: TreeId::from_bytes(reader.array()?),
            content: ContentId::from_bytes(reader.array()?),
        });
    }
    for _ in 0..reader.number()? {
        let kind = reader.byte()?;
        record.contents.push(encode::content(&mut reader, kind)?);
    }
    record.value = reader.rest().to_vec();
    Ok(record)
}
