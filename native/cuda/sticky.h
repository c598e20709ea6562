// The errors after which a process has lost a device: contexts that somebody else has destroyed or
// reset, and failures of kernels and of the hardware, of which CUDA's documentation says that every
// further call returns the same error. cudart.cpp compares the numbers with CUDA's own.
#pragma once

// clang-format off
#define SURPRISAL_STICKY_ERRORS(X) \
  X(CudartUnloading, 4)            \
  X(DeviceUninitialized, 201)      \
  X(ECCUncorrectable, 214)         \
  X(NvlinkUncorrectable, 220)      \
  X(IllegalAddress, 700)           \
  X(LaunchTimeout, 702)            \
  X(ContextIsDestroyed, 709)       \
  X(Assert, 710)                   \
  X(HardwareStackError, 714)       \
  X(IllegalInstruction, 715)       \
  X(MisalignedAddress, 716)        \
  X(InvalidAddressSpace, 717)      \
  X(InvalidPc, 718)                \
  X(LaunchFailure, 719)            \
  X(MpsClientTerminated, 810)      \
  X(ExternalDevice, 911)           \
  X(Unknown, 999)

// Which the headers of CUDA 12 do not have.
#define SURPRISAL_STICKY_ERRORS_OF_13(X) \
  X(Contained, 226)                      \
  X(TensorMemoryLeak, 721)
// clang-format on
