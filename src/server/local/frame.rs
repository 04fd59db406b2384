//! Frames on a unix stream socket: JSON values, each with the descriptors that belong to it.
//!
//! In and out: serde values, descriptors. Effects: the socket. A frame is the payload's length and its number of descriptors,
//! both u32 little-endian, then the payload; the descriptors travel with the frame's first byte (`SCM_RIGHTS`), so they have
//! arrived when the frame has. Received descriptors are close-on-exec from the start.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The most bytes of one payload: a Dockerfile with its ignore file stays far below.
const MAX_PAYLOAD: usize = 64 << 20;
/// The most descriptors of one frame: stdio and a handful of outputs; the kernel's limit is 253.
const MAX_FILES: usize = 64;
const HEADER: usize = 8;

/// A connection that carries frames. One thread may receive while others send.
pub(crate) struct Channel {
    stream: UnixStream,
    incoming: Mutex<Incoming>,
    sending: Mutex<()>,
}

#[derive(Default)]
struct Incoming {
    bytes: Vec<u8>,
    files: VecDeque<OwnedFd>,
}

impl Channel {
    /// Carries frames over `stream`.
    pub(crate) fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            incoming: Mutex::default(),
            sending: Mutex::new(()),
        }
    }

    /// Sends one value and its descriptors as one frame.
    ///
    /// # Errors
    /// The socket's; `BrokenPipe` when the other side is gone, `InvalidInput` for what no frame holds.
    pub(crate) fn send<T: Serialize>(&self, value: &T, files: &[BorrowedFd<'_>]) -> io::Result<()> {
        let payload = serde_json::to_vec(value)?;
        if payload.len() > MAX_PAYLOAD || files.len() > MAX_FILES {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the message is too large",
            ));
        }
        let mut frame = Vec::with_capacity(HEADER + payload.len());
        frame.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        frame.extend_from_slice(&(files.len() as u32).to_le_bytes());
        frame.extend_from_slice(&payload);
        let _order = self.sending.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sent = 0;
        while sent < frame.len() {
            let attached = if sent == 0 { files } else { &[] };
            match send_some(&self.stream, &frame[sent..], attached) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Receives one value and its descriptors; `None` when the other side closed between frames.
    ///
    /// # Errors
    /// The socket's; `UnexpectedEof` inside a frame; `InvalidData` for a payload that is no such value, or too large.
    pub(crate) fn receive<T: DeserializeOwned>(&self) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        let mut incoming = self.incoming.lock().unwrap_or_else(PoisonError::into_inner);
        if !incoming.fill(&self.stream, HEADER)? {
            return Ok(None);
        }
        let payload_len = incoming.header(0);
        let file_count = incoming.header(4);
        if payload_len > MAX_PAYLOAD || file_count > MAX_FILES {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the frame is too large",
            ));
        }
        if !incoming.fill(&self.stream, HEADER + payload_len)? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if incoming.files.len() < file_count {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a frame's descriptors are missing",
            ));
        }
        let value = serde_json::from_slice(&incoming.bytes[HEADER..HEADER + payload_len])?;
        incoming.bytes.drain(..HEADER + payload_len);
        let files = incoming.files.drain(..file_count).collect();
        Ok(Some((value, files)))
    }
}

impl Incoming {
    /// Reads until `wanted` bytes stand in the buffer; `false` when the stream ended before the first of them.
    fn fill(&mut self, stream: &UnixStream, wanted: usize) -> io::Result<bool> {
        while self.bytes.len() < wanted {
            match self.receive_some(stream) {
                Ok(0) if self.bytes.is_empty() => return Ok(false),
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn receive_some(&mut self, stream: &UnixStream) -> io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FILES))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut buffer = [0_u8; 16 << 10];
        let received = rustix::net::recvmsg(
            stream.as_fd(),
            &mut [IoSliceMut::new(&mut buffer)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        )?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(files) = message {
                self.files.extend(files);
            }
        }
        self.bytes.extend_from_slice(&buffer[..received.bytes]);
        Ok(received.bytes)
    }

    fn header(&self, at: usize) -> usize {
        self.bytes[at..at + 4]
            .iter()
            .rev()
            .fold(0, |value, byte| value << 8 | usize::from(*byte))
    }
}

fn send_some(stream: &UnixStream, bytes: &[u8], files: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FILES))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !files.is_empty() && !control.push(SendAncillaryMessage::ScmRights(files)) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "too many descriptors",
        ));
    }
    let sent = rustix::net::sendmsg(
        stream.as_fd(),
        &[IoSlice::new(bytes)],
        &mut control,
        SendFlags::NOSIGNAL,
    )?;
    Ok(sent)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek, Write};

    use super::*;

    fn pair() -> (Channel, Channel) {
        let (a, b) = UnixStream::pair().unwrap();
        (Channel::new(a), Channel::new(b))
    }

    #[test]
    fn frames_keep_their_order_and_their_descriptors() {
        let (a, b) = pair();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"behind the descriptor").unwrap();
        file.rewind().unwrap();
        let long = "x".repeat(1 << 20);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                a.send(&"first", &[]).unwrap();
                a.send(&long, &[file.as_fd()]).unwrap();
                a.send(&"last", &[]).unwrap();
            });
            assert_eq!(b.receive::<String>().unwrap().unwrap().0, "first");
            let (text, mut files) = b.receive::<String>().unwrap().unwrap();
            assert_eq!(text, long);
            assert_eq!(files.len(), 1);
            let mut content = String::new();
            std::fs::File::from(files.remove(0))
                .read_to_string(&mut content)
                .unwrap();
            assert_eq!(content, "behind the descriptor");
            let (text, files) = b.receive::<String>().unwrap().unwrap();
            assert_eq!((text.as_str(), files.len()), ("last", 0));
        });
    }

    #[test]
    fn an_end_between_frames_is_an_end_and_inside_a_frame_an_error() {
        let (a, b) = pair();
        a.send(&1, &[]).unwrap();
        drop(a);
        assert_eq!(b.receive::<i32>().unwrap().unwrap().0, 1);
        assert!(b.receive::<i32>().unwrap().is_none());

        let (a, b) = pair();
        (&a.stream).write_all(&[9, 0, 0, 0, 0, 0, 0, 0, b'1']).unwrap();
        drop(a);
        assert_eq!(
            b.receive::<i32>().unwrap_err().kind(),
            io::ErrorKind::UnexpectedEof
        );
    }

    #[test]
    fn hostile_lengths_are_refused_without_allocating() {
        let (a, b) = pair();
        (&a.stream).write_all(&[0xff; HEADER]).unwrap();
        assert_eq!(b.receive::<i32>().unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
