//! logjam
