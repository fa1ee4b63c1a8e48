//! One running core: the turn, its drivers, its mesh endpoints, budgets and probes.
