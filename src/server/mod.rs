//! How requests arrive: the local socket today, the Docker Engine API beside it later. Bytes on a socket become requests,
//! outcomes become bytes; what they mean is the engine's. `async` would live here and nowhere else.

pub mod local;
