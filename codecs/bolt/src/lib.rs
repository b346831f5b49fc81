//! The SOFA Bolt protocol, v1 and v2.
