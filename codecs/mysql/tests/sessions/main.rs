//! Sessions in transparent mode: every byte as it came, and still known what it is.

mod captures;
mod driver;
mod packets;
mod scripts;
