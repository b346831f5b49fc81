//! The wiremesh proxy, as a library.
