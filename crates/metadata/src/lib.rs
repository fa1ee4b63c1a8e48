//! Metadata records, the image they build, and the controller that decides them.
