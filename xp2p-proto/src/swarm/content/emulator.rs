//! An origin.
