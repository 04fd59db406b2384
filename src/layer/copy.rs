//! A file's bytes from the store to a writer, holes as zeros, in pieces of bounded size.

use std::io::{Read, Seek, SeekFrom, Write};
use std::sync::Arc;

use silt_store::{Content, Data, Store, blob};

use super::error::LayerError;

const PIECE: usize = 128 << 10;

/// Writes `length` bytes of `content` from `offset`; fewer in the store is an error.
pub(super) fn copy_range(
    store: &Arc<dyn Store>,
    content: &Content,
    offset: u64,
    length: u64,
    out: &mut dyn Write,
) -> Result<(), LayerError> {
    if offset.checked_add(length).is_none_or(|end| end > content.len) {
        return Err(LayerError::Recipe);
    }
    if let Data::Inline(bytes) = &content.data {
        let part = bytes.get(offset as usize..(offset + length) as usize);
        return out
            .write_all(part.ok_or(LayerError::Recipe)?)
            .map_err(LayerError::Write);
    }
    let mut reader = blob::Reader::new(store.clone(), content.clone());
    reader.seek(SeekFrom::Start(offset)).map_err(LayerError::Read)?;
    let mut buffer = vec![0; PIECE.min(length as usize)];
    let mut left = length;
    while left > 0 {
        let wanted = left.min(buffer.len() as u64) as usize;
        reader
            .read_exact(&mut buffer[..wanted])
            .map_err(LayerError::Read)?;
        out.write_all(&buffer[..wanted]).map_err(LayerError::Write)?;
        left -= wanted as u64;
    }
    Ok(())
}
