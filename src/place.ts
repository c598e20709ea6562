// Where tensors are: the names of devices, and the device on which results are made. An operation
// runs on the device of its inputs, and what it allocates lies there (`ambient`); tensors that a
// user makes, inside a custom operation too, go to the default device (src/device.ts).

/** Where a tensor lies; 'cuda' is the first device. */
export type Device = 'cpu' | 'cuda' | `cuda:${number}`;

const names: `cuda:${number}`[] = [];

/** 'cuda:0' for 0: one string a device, so that comparing two is comparing pointers. */
export function deviceName(index: number): `cuda:${number}` {
  names[index] ??= `cuda:${index}`;
  return names[index];
}

/** 0 for 'cuda' and 'cuda:0'. */
export function indexOf(device: Device): number {
  return device === 'cuda' ? 0 : Number(device.slice(5));
}

/** The device of the operation that runs now; 'cpu' outside of operations. */
export let ambient: Device = 'cpu';

/** Sets the ambient device and gives the one before, which has to be set again. */
export function enter(device: Device): Device {
  const before = ambient;
  ambient = device;
  return before;
}

/** Runs `work` with its results on `device`. */
export function onDevice<R>(device: Device, work: () => R): R {
  const before = enter(device);
  try {
    return work();
  } finally {
    ambient = before;
  }
}
