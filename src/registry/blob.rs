//! A blob's bytes as a stream that survives broken connections: it goes on where it stopped, by range requests.
//!
//! Not verified here: the reader of a whole blob does that (`images::Verified`).

use std::io::{self, Read};
use std::sync::Arc;

use ureq::BodyReader;

use super::client::{Client, Request};
use super::endpoint::Endpoint;
use super::error::RegistryError;
use crate::oci::digest::Digest;
use crate::oci::manifest::Descriptor;
use crate::oci::reference::Reference;

/// Breaks in a row without progress that are borne.
const MAX_BREAKS: u32 = 3;
/// Breaks in all.
const MAX_ALL_BREAKS: u32 = 50;

/// Reads a blob.
pub struct BlobReader {
    client: Arc<Client>,
    endpoint: Endpoint,
    domain: String,
    repository: String,
    digest: Digest,
    size: u64,
    position: u64,
    body: Option<BodyReader<'static>>,
    breaks: u32,
    all_breaks: u32,
}

impl BlobReader {
    /// Reads the blob that `descriptor` describes from the repository of `reference`; the connection is made at the first read.
    pub fn new(client: &Arc<Client>, reference: &Reference, descriptor: &Descriptor) -> Self {
        Self {
            client: client.clone(),
            endpoint: Endpoint::of(reference.domain()),
            domain: reference.domain().into(),
            repository: reference.path().into(),
            digest: descriptor.digest.clone(),
            size: descriptor.size,
            position: 0,
            body: None,
            breaks: 0,
            all_breaks: 0,
        }
    }

    fn open(&self) -> Result<BodyReader<'static>, io::Error> {
        let request = Request {
            endpoint: &self.endpoint,
            domain: &self.domain,
            repository: &self.repository,
            what: format!("blobs/{}", self.digest),
            accept: "*/*",
            from: self.position,
        };
        let response = self.client.get(&request).map_err(io::Error::other)?;
        let partial = response.status() == 206;
        let mut body = response.into_body().into_reader();
        if self.position > 0 && !partial {
            // A registry without ranges: what we have comes again.
            let skipped = io::copy(&mut body.by_ref().take(self.position), &mut io::sink())?;
            if skipped < self.position {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(body)
    }

    fn broken(&mut self, error: io::Error) -> io::Result<()> {
        self.body = None;
        self.breaks += 1;
        self.all_breaks += 1;
        // What the client gave up on already was retried there.
        let settled = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<RegistryError>())
            .is_some();
        if !settled && self.breaks <= MAX_BREAKS && self.all_breaks <= MAX_ALL_BREAKS {
            return Ok(());
        }
        if settled {
            return Err(error);
        }
        Err(io::Error::other(RegistryError::Broken {
            registry: self.endpoint.host.clone(),
            received: self.position,
            size: self.size,
            source: error,
        }))
    }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        while self.position < self.size {
            let result = match &mut self.body {
                Some(body) => body.read(buffer),
                None => self.open().and_then(|body| self.body.insert(body).read(buffer)),
            };
            match result {
                Ok(0) => self.broken(io::ErrorKind::UnexpectedEof.into())?,
                Ok(read) => {
                    self.position += read as u64;
                    self.breaks = 0;
                    return Ok(read);
                }
                Err(error) => self.broken(error)?,
            }
        }
        Ok(0)
    }
}
