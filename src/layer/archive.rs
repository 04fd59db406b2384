//! The framing of a tar: a byte stream to members and their data, never holding more than a header and its extensions.
//!
//! In: an untrusted stream. Out: `Member`s, then the data of each through `Read`. Everything but file data is passed to the
//! recorder, if there is one, so that the same archive can be written again. Nothing is allocated by declared sizes.
//! Own framing around the `tar` crate's header, as the crate neither shows raw bytes nor applies PAX sizes when asked to.

use std::io::{self, Read};

use silt_store::Content;
use tar::Header;

use super::error::{LayerError, MemberError};
use super::header::{self, Extensions, Kind, Member};
use super::recipe::Recorder;
use super::sparse::{self, Map};

const BLOCK: usize = 512;
const MAX_EXTENSION: u64 = 1 << 20;

/// Reads members one after the other.
pub(super) struct Archive<'a> {
    input: &'a mut dyn Read,
    /// Bytes taken from `input`.
    offset: u64,
    /// Data of the current member not read yet.
    remaining: u64,
    /// Filler after that data.
    padding: u64,
    needs_end_mark: bool,
    recorder: Option<Recorder>,
    /// Why reading data failed, kept since a reader's error passes through the store.
    failure: Option<io::Error>,
    /// The current member, for messages.
    name: Vec<u8>,
}

impl<'a> Archive<'a> {
    pub(super) fn new(input: &'a mut dyn Read, needs_end_mark: bool, recorder: Option<Recorder>) -> Self {
        Self {
            input,
            offset: 0,
            remaining: 0,
            padding: 0,
            needs_end_mark,
            recorder,
            failure: None,
            name: Vec::new(),
        }
    }

    /// The next member; its data, if it is a file, follows through `Read`.
    pub(super) fn next(&mut self) -> Result<Option<Member>, LayerError> {
        let leftover = self.remaining + self.padding;
        self.remaining = 0;
        self.padding = 0;
        self.skip(leftover)?;
        self.name.clear();
        let mut extensions = Extensions::default();
        loop {
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            let size = || header::number(&header.as_old().size, "size").map(|size| size.max(0) as u64);
            let name = header.path_bytes();
            match header.as_old().linkflag[0] {
                b'x' => extensions.pax = self.extension(&name, size())?,
                // Global headers hold archive-wide comments (git); Docker passes over them too.
                b'g' => drop(self.extension(&name, size())?),
                b'L' => extensions.long_name = Some(until_nul(self.extension(&name, size())?)),
                b'K' => extensions.long_link = Some(until_nul(self.extension(&name, size())?)),
                _ => return self.member(&header, extensions).map(Some),
            }
        }
    }

    /// Notes how the data just read can be had again: runs of `content`, in the order they were stored.
    pub(super) fn stored_as(&mut self, content: &Content, sparse: Option<&Map>) -> Result<(), LayerError> {
        let Some(recorder) = &mut self.recorder else {
            return Ok(());
        };
        match sparse {
            None => recorder.content(content, 0, content.len),
            Some(map) => map
                .runs
                .iter()
                .try_for_each(|(offset, length)| recorder.content(content, *offset, *length)),
        }
        .map_err(LayerError::Write)
    }

    /// What went wrong while data was read, instead of the store's error about it.
    pub(super) fn failure(&mut self) -> Option<LayerError> {
        let error = self.failure.take()?;
        Some(if error.kind() == io::ErrorKind::UnexpectedEof {
            self.truncated()
        } else {
            LayerError::Read(error)
        })
    }

    /// The recorder, after the last member.
    pub(super) fn into_recorder(self) -> Option<Recorder> {
        self.recorder
    }

    fn member(&mut self, header: &Header, extensions: Extensions) -> Result<Member, LayerError> {
        let (mut member, declared) =
            header::member(header, extensions).map_err(|e| e.at(&header.path_bytes()))?;
        self.name.clone_from(&member.name);
        self.remaining = member.stored;
        self.padding = member.stored.wrapping_neg() % BLOCK as u64;
        if member.kind != Kind::File {
            return Ok(member);
        }
        let map = if header.as_old().linkflag[0] == b'S' {
            Some(self.old_gnu_map(header)?)
        } else if declared.map_is_in_data() {
            let runs = sparse::read_map(&mut self.as_raw(), member.stored)
                .map_err(|error| self.read_error(error))?;
            let (runs, used) = runs.ok_or(MemberError::Sparse).map_err(|e| e.at(&member.name))?;
            member.stored -= used;
            self.remaining = member.stored;
            declared.map(Some(runs))
        } else {
            declared.map(None)
        };
        member.sparse = map
            .map(|map| map.checked(member.stored))
            .transpose()
            .map_err(|error| error.at(&member.name))?;
        Ok(member)
    }

    fn old_gnu_map(&mut self, header: &Header) -> Result<Map, LayerError> {
        let name = self.name.clone();
        let at = |error: MemberError| error.at(&name);
        let bytes = *header.as_bytes();
        let mut runs = Vec::new();
        sparse::gnu_runs(&bytes[386..482], &mut runs).map_err(at)?;
        let size = header::number(&bytes[483..495], "sparse size").map_err(at)?;
        let mut extended = bytes[482] != 0;
        while extended {
            let block = self.block()?.ok_or_else(|| self.truncated())?;
            sparse::gnu_runs(&block[..504], &mut runs).map_err(at)?;
            extended = block[504] != 0;
            if runs.len() as u64 * 24 > MAX_EXTENSION {
                return Err(at(MemberError::Sparse));
            }
        }
        let size = u64::try_from(size).map_err(|_| at(MemberError::Sparse))?;
        Ok(Map { runs, size })
    }

    /// The next header, or `None` at the archive's end, then with the stream read to its own end.
    fn header(&mut self) -> Result<Option<Header>, LayerError> {
        let offset = self.offset;
        let Some(block) = self.block()? else {
            return if self.needs_end_mark {
                Err(LayerError::Truncated {
                    place: "before its end mark".into(),
                })
            } else {
                Ok(None)
            };
        };
        if block == [0; BLOCK] {
            match self.block()? {
                Some(block) if block != [0; BLOCK] => return Err(LayerError::NotTar { offset }),
                _ => self.drain()?,
            }
            return Ok(None);
        }
        let header = Header::from_byte_slice(&block).clone();
        if header::checksum_holds(&header) {
            Ok(Some(header))
        } else {
            Err(LayerError::NotTar { offset })
        }
    }

    fn extension(&mut self, name: &[u8], size: Result<u64, MemberError>) -> Result<Vec<u8>, LayerError> {
        let size = size.map_err(|error| error.at(name))?;
        if size > MAX_EXTENSION {
            return Err(MemberError::ExtensionSize { size }.at(name));
        }
        self.name = name.into();
        let mut bytes = vec![0; size.next_multiple_of(BLOCK as u64) as usize];
        self.as_raw()
            .read_exact(&mut bytes)
            .map_err(|error| self.read_error(error))?;
        bytes.truncate(size as usize);
        Ok(bytes)
    }

    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, LayerError> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            let read = self
                .as_raw()
                .read(&mut block[filled..])
                .map_err(LayerError::Read)?;
            if read == 0 {
                break;
            }
            filled += read;
        }
        match filled {
            0 => Ok(None),
            BLOCK => Ok(Some(block)),
            _ => Err(self.truncated()),
        }
    }

    fn skip(&mut self, bytes: u64) -> Result<(), LayerError> {
        let skipped = io::copy(&mut self.as_raw().take(bytes), &mut io::sink()).map_err(LayerError::Read)?;
        if skipped == bytes {
            Ok(())
        } else {
            Err(self.truncated())
        }
    }

    fn drain(&mut self) -> Result<(), LayerError> {
        io::copy(&mut self.as_raw(), &mut io::sink())
            .map(drop)
            .map_err(LayerError::Read)
    }

    fn truncated(&self) -> LayerError {
        let place = if self.name.is_empty() {
            format!("at byte {}", self.offset)
        } else {
            format!("in {}", String::from_utf8_lossy(&self.name))
        };
        LayerError::Truncated { place }
    }

    fn read_error(&self, error: io::Error) -> LayerError {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            self.truncated()
        } else {
            LayerError::Read(error)
        }
    }

    fn as_raw(&mut self) -> Raw<'_, 'a> {
        Raw(self)
    }
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
        bytes.truncate(end);
    }
    bytes
}

/// The stream as everything but file data sees it: recorded.
struct Raw<'b, 'a>(&'b mut Archive<'a>);

impl Read for Raw<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = retry(self.0.input, buffer)?;
        self.0.offset += read as u64;
        if let Some(recorder) = &mut self.0.recorder {
            recorder.raw(&buffer[..read])?;
        }
        Ok(read)
    }
}

/// The current member's data. Its end before all declared bytes came is an error, kept for `failure`.
impl Read for Archive<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = (buffer.len() as u64).min(self.remaining) as usize;
        if wanted == 0 {
            return Ok(0);
        }
        match retry(self.input, &mut buffer[..wanted]) {
            Ok(0) => {
                self.failure = Some(io::ErrorKind::UnexpectedEof.into());
                Err(io::ErrorKind::UnexpectedEof.into())
            }
            Ok(read) => {
                self.offset += read as u64;
                self.remaining -= read as u64;
                Ok(read)
            }
            Err(error) => {
                let kind = error.kind();
                // A decoder that runs out of input is the same as an archive that does.
                self.failure = Some(error);
                Err(kind.into())
            }
        }
    }
}

fn retry(input: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match input.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}
