//! Images from elsewhere: a config and layer blobs become trees, digests verified on the way.
//!
//! In: a config's bytes and where its layers' blobs come from. Out: an `Image`, not yet recorded. Effects: puts content,
//! remembers each layer's exact tar. Layers that a local image already begins with are not opened.

use std::io::{self, Read};

use super::error::ImageError;
use super::image::Image;
use super::store::ImageStore;
use crate::layer::{Digesting, Layer, LayerError, decompress, packed, unpack_recorded};
use crate::oci::config::ImageConfig;
use crate::oci::digest::{DiffId, Digest, Hasher};

/// Where layer blobs come from. Two implementations: archives and registries.
pub trait Blobs {
    /// Opens the blob of layer `index`, compressed or not. Called once for each layer needed, in order.
    ///
    /// # Errors
    /// When it is not there.
    fn open(&mut self, index: usize) -> Result<Box<dyn Read + Send + '_>, ImageError>;
}

/// Unpacks an image's layers, lowest first.
///
/// # Errors
/// `Config`; `Layer` with `WrongDiffId`, `Truncated` and whatever else a layer can be; what `blobs` reports.
pub fn install(
    images: &ImageStore,
    config_bytes: Vec<u8>,
    blobs: &mut dyn Blobs,
) -> Result<Image, ImageError> {
    let diff_ids = ImageConfig::from_slice(&config_bytes)?.diff_ids()?;
    let scratch = images.scratch()?;
    let mut layers = images.common_layers(&diff_ids)?;
    for (index, diff_id) in diff_ids.iter().enumerate().skip(layers.len()) {
        let lower = layers.last().map_or(scratch, |layer: &Layer| layer.root);
        let blob = blobs.open(index)?;
        let layer = layer(images, lower, blob, diff_id).map_err(|source| ImageError::Layer {
            number: index + 1,
            count: diff_ids.len(),
            source,
        })?;
        layers.push(layer);
    }
    Image::new(config_bytes, layers, scratch)
}

fn layer(
    images: &ImageStore,
    lower: silt_store::TreeRef,
    blob: Box<dyn Read + Send + '_>,
    expected: &DiffId,
) -> Result<Layer, LayerError> {
    let plain = decompress(blob).map_err(|error| read_error(&error).unwrap_or(LayerError::Read(error)))?;
    let mut plain = Digesting::with(plain, expected.0.hasher());
    let unpacked = unpack_recorded(images.store(), lower, &mut plain).map_err(|error| match error {
        LayerError::Read(error) => read_error(&error).unwrap_or(LayerError::Read(error)),
        other => other,
    })?;
    let (digest, size) = plain.finish();
    if digest != expected.0 {
        return Err(LayerError::WrongDiffId {
            expected: expected.clone(),
            actual: DiffId(digest),
        });
    }
    packed::remember_foreign(images.store(), lower, unpacked, expected.clone(), size)
}

/// The digest error that a `Verified` reader hid in an I/O error, brought out again.
fn read_error(error: &io::Error) -> Option<LayerError> {
    let mut source: Option<&(dyn std::error::Error + 'static)> = error.get_ref().map(|inner| inner as _);
    while let Some(inner) = source {
        if let Some(Mismatch { expected, actual }) = inner.downcast_ref() {
            return Some(LayerError::WrongDigest {
                expected: expected.clone(),
                actual: actual.clone(),
            });
        }
        source = inner.source();
    }
    None
}

/// A reader that ends in an error unless its bytes have the digest and the size that a descriptor states.
#[derive(Debug)]
pub struct Verified<R> {
    inner: R,
    hasher: Option<Hasher>,
    expected: Digest,
    left: u64,
}

#[derive(Debug, thiserror::Error)]
#[error("content is {actual}, expected {expected}")]
struct Mismatch {
    expected: Digest,
    actual: Digest,
}

impl<R: Read> Verified<R> {
    /// Reads `inner`, which should be `size` bytes of `digest`.
    pub fn new(inner: R, digest: &Digest, size: u64) -> Self {
        Self {
            inner,
            hasher: Some(digest.hasher()),
            expected: digest.clone(),
            left: size,
        }
    }
}

impl<R: Read> Read for Verified<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if self.left == 0 {
            // Bytes beyond the stated size are not looked at: they are no part of the blob.
            let Some(hasher) = self.hasher.take() else {
                return Ok(0);
            };
            let actual = hasher.finish();
            if actual == self.expected {
                return Ok(0);
            }
            let expected = self.expected.clone();
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                Mismatch { expected, actual },
            ));
        }
        let wanted = (buffer.len() as u64).min(self.left) as usize;
        let read = self.inner.read(&mut buffer[..wanted])?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..read]);
        }
        self.left -= read as u64;
        Ok(read)
    }
}
