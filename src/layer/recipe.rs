//! How to write a foreign layer's tar again, byte for byte, from the tree: its headers verbatim, its files by reference.
//!
//! In: the pieces of a tar as they are unpacked. Out: zstd-compressed steps; later, the tar. A pulled or loaded image keeps
//! its config and therefore its `diff_id`s, so its layers must come out as they came in; keeping them twice would double the
//! disk, while headers compress to some 30 bytes each. Format: `0, length (LE u64), bytes` or
//! `1, offset, length, content`; content is `len (LE u64), kind, id or inline length and bytes`.

use std::collections::HashSet;
use std::io::{self, Read, Write};
use std::sync::Arc;

use bytes::Bytes;
use silt_store::{ChunkId, Content, Data, Store, blob};

use super::error::LayerError;

const RAW: u8 = 0;
const CONTENT: u8 = 1;
/// Longer raw runs are split, so that a reader may refuse what is longer.
const MAX_RAW: usize = 1 << 20;

/// Collects the steps.
pub(super) struct Recorder {
    out: zstd::Encoder<'static, Vec<u8>>,
    pending: Vec<u8>,
    written: HashSet<Content>,
}

impl Recorder {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            out: zstd::Encoder::new(Vec::new(), 3)?,
            pending: Vec::new(),
            written: HashSet::new(),
        })
    }

    /// Bytes to be written verbatim.
    pub(super) fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.pending.extend_from_slice(bytes);
        if self.pending.len() >= MAX_RAW / 2 {
            self.flush()?;
        }
        Ok(())
    }

    /// A run of a file's bytes.
    pub(super) fn content(&mut self, content: &Content, offset: u64, length: u64) -> io::Result<()> {
        self.flush()?;
        self.out.write_all(&[CONTENT])?;
        self.out.write_all(&offset.to_le_bytes())?;
        self.out.write_all(&length.to_le_bytes())?;
        if !matches!(content.data, Data::Inline(_)) {
            self.written.insert(content.clone());
        }
        write_content(&mut self.out, content)
    }

    /// The finished recipe and the contents it refers to.
    pub(super) fn finish(mut self) -> io::Result<(Vec<u8>, HashSet<Content>)> {
        self.flush()?;
        Ok((self.out.finish()?, self.written))
    }

    fn flush(&mut self) -> io::Result<()> {
        for part in self.pending.chunks(MAX_RAW) {
            self.out.write_all(&[RAW])?;
            self.out.write_all(&(part.len() as u64).to_le_bytes())?;
            self.out.write_all(part)?;
        }
        self.pending.clear();
        Ok(())
    }
}

/// Writes the tar that `recipe` describes.
pub(super) fn replay(
    store: &Arc<dyn Store>,
    recipe: &Content,
    out: &mut dyn Write,
) -> Result<(), LayerError> {
    let packed = blob::Reader::new(store.clone(), recipe.clone());
    let mut steps = zstd::Decoder::new(packed).map_err(|_| LayerError::Recipe)?;
    let mut tag = [0];
    loop {
        match steps.read(&mut tag) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) => return Err(LayerError::Read(error)),
        }
        match tag[0] {
            RAW => {
                let length = usize::try_from(number(&mut steps)?).unwrap_or(usize::MAX);
                if length > MAX_RAW {
                    return Err(LayerError::Recipe);
                }
                let bytes = take(&mut steps, length)?;
                out.write_all(&bytes).map_err(LayerError::Write)?;
            }
            CONTENT => {
                let (offset, length) = (number(&mut steps)?, number(&mut steps)?);
                let content = read_content(&mut steps)?;
                super::copy::copy_range(store, &content, offset, length, out)?;
            }
            _ => return Err(LayerError::Recipe),
        }
    }
}

/// Writes a reference to content.
pub(super) fn write_content(out: &mut dyn Write, content: &Content) -> io::Result<()> {
    out.write_all(&content.len.to_le_bytes())?;
    match &content.data {
        Data::Inline(bytes) => {
            out.write_all(&[0])?;
            out.write_all(&(bytes.len() as u64).to_le_bytes())?;
            out.write_all(bytes)
        }
        Data::Chunk(id) => {
            out.write_all(&[1])?;
            out.write_all(id.as_bytes())
        }
        Data::List(id) => {
            out.write_all(&[2])?;
            out.write_all(id.as_bytes())
        }
    }
}

/// Reads what `write_content` wrote.
pub(super) fn read_content(input: &mut dyn Read) -> Result<Content, LayerError> {
    let len = number(input)?;
    let kind = take(input, 1)?[0];
    let data = if kind == 0 {
        let length = usize::try_from(number(input)?).unwrap_or(usize::MAX);
        if length > MAX_RAW {
            return Err(LayerError::Recipe);
        }
        Data::Inline(Bytes::from(take(input, length)?))
    } else {
        let mut id = [0; 32];
        input.read_exact(&mut id).map_err(|_| LayerError::Recipe)?;
        match kind {
            1 => Data::Chunk(ChunkId::from_bytes(id)),
            2 => Data::List(ChunkId::from_bytes(id)),
            _ => return Err(LayerError::Recipe),
        }
    };
    Ok(Content { len, data })
}

fn number(input: &mut dyn Read) -> Result<u64, LayerError> {
    let mut bytes = [0; 8];
    input.read_exact(&mut bytes).map_err(|_| LayerError::Recipe)?;
    Ok(u64::from_le_bytes(bytes))
}

fn take(input: &mut dyn Read, length: usize) -> Result<Vec<u8>, LayerError> {
    let mut bytes = vec![0; length];
    input.read_exact(&mut bytes).map_err(|_| LayerError::Recipe)?;
    Ok(bytes)
}
