// Marks functions that the host, CUDA kernels and the kernel emulator share.
#pragma once

#if defined(__CUDACC__)
#define SP_HOST_DEVICE __host__ __device__
#else
#define SP_HOST_DEVICE
#endif
