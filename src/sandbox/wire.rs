//! What engine and helper say to each other: one JSON message in a datagram, descriptors beside it.
//!
//! Two kinds of seqpacket sockets. The control socket carries requests to the helper; since an environment may be larger than a
//! datagram, the request itself lies in a memfd. Each container has a channel of its own: the container's process reports its
//! set-up on it, then the helper its end, and the engine sends signals. The end of a channel ends its container.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{MemfdFlags, SeekFrom, memfd_create, seek};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::error::Failure;
use super::{Exit, Spec, Stub};

/// Descriptors that accompany a request: the request's memfd, the channel, stdin, stdout, stderr.
pub(super) const REQUEST_DESCRIPTORS: usize = 5;
const MAX_MESSAGE: usize = 64 << 10;

/// Asks the helper for a process.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request {
    /// A new container.
    Spawn { id: u64, spec: Box<Spec>, root: Root },
    /// A further process in container `container`. Of the spec only what concerns the process is used.
    Exec { container: u64, spec: Box<Spec> },
}

/// The root filesystem, as far as the helper has to know.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Root {
    /// Mount FUSE and send the device over the channel.
    Fuse,
    /// Bind this directory.
    Directory(PathBuf),
}

/// The helper's first word on the control socket.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Hello {
    /// Requests are welcome.
    Ready,
    /// There will be no helper.
    Failed(Failure),
}

/// What the engine hears on a container's channel.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Event {
    /// /dev/fuse comes with it: serve it now.
    Device,
    /// The terminal's master comes with it.
    Terminal,
    /// The command is about to be executed; `pid` as /proc of the host has it.
    Started { pid: i32, stubs: Vec<Stub> },
    /// Set-up failed; an `Exited` follows, which says nothing more.
    Failed(Failure),
    /// The container is gone. `oom_kills`: processes that its cgroup killed for memory.
    Exited { exit: Exit, oom_kills: u64 },
}

/// What the engine says on a container's channel.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Order {
    /// Send this signal to the container's first process.
    Signal(i32),
}

/// Two connected seqpacket sockets, closed on exec.
pub(super) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

/// Writes a request to a memfd, which the other side reads from its start.
pub(super) fn pack(request: &Request) -> io::Result<OwnedFd> {
    let memory = memfd_create("silt-request", MemfdFlags::CLOEXEC)?;
    let mut file = std::fs::File::from(memory);
    serde_json::to_writer(io::BufWriter::new(&mut file), request)?;
    let memory = OwnedFd::from(file);
    seek(&memory, SeekFrom::Start(0))?;
    Ok(memory)
}

/// Reads what [`pack`] wrote.
pub(super) fn unpack(memory: OwnedFd) -> io::Result<Request> {
    Ok(serde_json::from_reader(io::BufReader::new(std::fs::File::from(
        memory,
    )))?)
}

/// Sends one message with descriptors; no SIGPIPE when nobody listens.
pub(super) fn send<T: Serialize>(
    socket: BorrowedFd<'_>,
    message: &T,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(REQUEST_DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    loop {
        match sendmsg(
            socket,
            &[IoSlice::new(&bytes)],
            &mut ancillary,
            SendFlags::NOSIGNAL,
        ) {
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Receives one message and its descriptors, closed on exec. `None` is the end: the other side is gone.
pub(super) fn receive<T: DeserializeOwned>(socket: impl AsFd) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut buffer = vec![0; MAX_MESSAGE];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(REQUEST_DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        match recvmsg(
            &socket,
            &mut [IoSliceMut::new(&mut buffer)],
            &mut ancillary,
            RecvFlags::CMSG_CLOEXEC,
        ) {
            Ok(received) => break received,
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::CONNRESET) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    };
    let mut descriptors = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            descriptors.extend(received);
        }
    }
    if received.bytes == 0 {
        return Ok(None);
    }
    if received
        .flags
        .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC)
    {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(Some((
        serde_json::from_slice(&buffer[..received.bytes])?,
        descriptors,
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_keep_their_bounds_and_descriptors() {
        let (here, there) = pair().unwrap();
        let request = Request::Exec {
            container: 7,
            spec: Box::default(),
        };
        let memory = pack(&request).unwrap();
        send(here.as_fd(), &Order::Signal(15), &[]).unwrap();
        send(here.as_fd(), &Order::Signal(9), &[memory.as_fd()]).unwrap();
        drop(here);
        let (Order::Signal(first), none) = receive(&there).unwrap().unwrap();
        assert_eq!((first, none.len()), (15, 0));
        let (Order::Signal(second), mut one) = receive(&there).unwrap().unwrap();
        assert_eq!((second, one.len()), (9, 1));
        assert!(matches!(
            unpack(one.remove(0)).unwrap(),
            Request::Exec { container: 7, .. }
        ));
        assert!(receive::<Order>(&there).unwrap().is_none());
    }
}
