//! Worlds whose every step is written down, for what chance finds rarely.

mod classes;
mod configs;
mod files;
mod groups;
mod indexes;
mod lost;
mod recovery;
mod space;
mod world;
