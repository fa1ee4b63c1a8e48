//! Data-driven scripts: `testdata/*.txt`.
