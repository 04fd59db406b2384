//! The three ids of the store: 32 bytes each, BLAKE3, never interchangeable.
//!
//! In: bytes. Out: ids. No effects. `ContentId` stands beside `TreeId` because times differ between two runs of one step
//! while its content does not: early cut-off compares content.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 32]);

        impl $name {
            /// The length of an id in bytes.
            pub const LEN: usize = 32;

            /// Digests `bytes` (BLAKE3, 32 bytes of output).
            pub fn of(bytes: &[u8]) -> Self {
                Self(*blake3::hash(bytes).as_bytes())
            }

            /// Takes 32 bytes that are known to be such an id (read from the store or from a hasher).
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The id's bytes, in digest order.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// Parses 64 lower-case or upper-case hexadecimal digits; anything else is `None`.
            pub fn from_hex(text: &str) -> Option<Self> {
                blake3::Hash::from_hex(text).ok().map(|hash| Self(*hash.as_bytes()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), &blake3::Hash::from_bytes(self.0).to_hex()[..12])
            }
        }
    };
}

id! {
    /// Names the bytes of one chunk.
    ChunkId
}
id! {
    /// Names the canonical encoding of a directory or of a root, times included.
    TreeId
}
id! {
    /// Names the same as the `TreeId` beside it, times left out.
    ContentId
}
