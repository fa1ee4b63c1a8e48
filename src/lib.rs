//! The front of the klamm broker: connections, translation, configuration, process life.
