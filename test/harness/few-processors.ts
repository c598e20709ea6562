// Before the addon: the emulated device then has four multiprocessors, and small problems take the
// kernels of large ones, whose blocks stay for more than one tile or row.
process.env.SURPRISAL_EMULATOR_PROCESSORS ??= '4';
