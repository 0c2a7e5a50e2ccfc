//! The simulator tested with a machine that only sends and answers.
