//! The project's automation: walls, map, continuous integration.

fn main() {}
