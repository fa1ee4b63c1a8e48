//! One partition's leadership life: positions, epochs, producer state.
