//! Random histories against a simple model.
