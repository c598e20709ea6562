#include <cuda.h>
#include <cuda_runtime_api.h>

#include <cstring>

#include "core/check.h"
#include "cuda/tensor_map.h"

namespace surprisal::cuda {

static_assert(sizeof(TensorMap) == sizeof(CUtensorMap), "copied as bytes");

TensorMap tensor_map(const void* data, DType dtype, int64_t rows, int64_t columns, int64_t pitch,
                     int box_rows) {
  static const auto encode = [] {
    void* entry = nullptr;
    cudaDriverEntryPointQueryResult found{};
    cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &entry, 12000, cudaEnableDefault,
                                     &found);
    return reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(entry);
  }();
  if (!encode) throw Error(Code::internal, "the driver has no cuTensorMapEncodeTiled");
  CUtensorMap map;
  const cuuint64_t sizes[] = {static_cast<cuuint64_t>(columns), static_cast<cuuint64_t>(rows)};
  const cuuint64_t pitches[] = {static_cast<cuuint64_t>(pitch) * 2};
  const cuuint32_t box[] = {64, static_cast<cuuint32_t>(box_rows)};
  const cuuint32_t steps[] = {1, 1};
  const CUresult status = encode(
      &map,
      dtype == DType::bf16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : CU_TENSOR_MAP_DATA_TYPE_FLOAT16, 2,
      const_cast<void*>(data), sizes, pitches, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
      CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
      CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (status != CUDA_SUCCESS) {
    throw Error(Code::internal, "cuTensorMapEncodeTiled: error " + std::to_string(status));
  }
  TensorMap out;
  std::memcpy(&out, &map, sizeof out);
  return out;
}

}  // namespace surprisal::cuda
