// Blocks of elements converted to the type they are computed in (float, double or int64_t) and
// back, so that a kernel is compiled once per compute type and not once per dtype. Included inside
// a target's namespace after cpu/simd.h. Booleans are 0 and 1; 16-bit floats compute in float32.

template <>
struct VectorOf<int64_t> {
  using type = I64;
  using mask = I64;
  static constexpr int lanes = SURPRISAL_TARGET_BYTES / 8;
};
typedef int64_t I64Unaligned __attribute__((vector_size(SURPRISAL_TARGET_BYTES), aligned(8)));
inline I64 splat(int64_t x) { return x - I64{}; }
inline I64 load(const int64_t* p) { return *reinterpret_cast<const I64Unaligned*>(p); }
inline void store(int64_t* p, I64 v) { *reinterpret_cast<I64Unaligned*>(p) = v; }
inline I64 select(I64 mask, I64 a, I64 b) { return mask ? a : b; }

constexpr int64_t kBlock = 512;  // elements; a few float64 blocks fit the first-level cache

template <class T, class C>
inline void convert_block(const T* from, int64_t n, C* to) {
  for (int64_t i = 0; i < n; ++i) to[i] = static_cast<C>(from[i]);
}
template <class T>
inline void widen_block(const T* from, int64_t n, float* to) {
  constexpr int64_t kStep = kLanes<float>;
  int64_t i = 0;
  for (; i + kStep <= n; i += kStep) store(to + i, load_wide(from + i));
  for (; i < n; ++i) to[i] = to_float(from[i]);
}
template <class T>
inline void narrow_block(const float* from, int64_t n, T* to) {
  constexpr int64_t kStep = kLanes<float>;
  int64_t i = 0;
  for (; i + kStep <= n; i += kStep) store_narrow(to + i, load(from + i));
  for (; i < n; ++i) to[i] = from_float<T>(from[i]);
}

template <class C>
constexpr DType kNative = DTypeOf<C>::value;

template <class T>
inline const T* at(const void* data, int64_t offset) {
  return static_cast<const T*>(data) + offset;
}
template <class T>
inline T* at(void* data, int64_t offset) {
  return static_cast<T*>(data) + offset;
}

// Elements [offset, offset + n) of `data` as C.
template <class C>
inline void load_block(DType dtype, const void* data, int64_t offset, int64_t n, C* to) {
  switch (dtype) {
    case DType::f32:
      return convert_block(at<float>(data, offset), n, to);
    case DType::f64:
      return convert_block(at<double>(data, offset), n, to);
    case DType::f16:
      if constexpr (std::is_same_v<C, float>) return widen_block(at<Float16>(data, offset), n, to);
      break;
    case DType::bf16:
      if constexpr (std::is_same_v<C, float>) return widen_block(at<BFloat16>(data, offset), n, to);
      break;
    case DType::i32:
      return convert_block(at<int32_t>(data, offset), n, to);
    case DType::i64:
      return convert_block(at<int64_t>(data, offset), n, to);
    case DType::u8:
      return convert_block(at<uint8_t>(data, offset), n, to);
    case DType::boolean:
      return convert_block(at<int8_t>(data, offset), n, to);
  }
  require(false, "load_block: a 16-bit float is computed in float32");
}

// The same elements where they lie, if they are C already, else copied to `buffer`.
template <class C>
inline const C* block_of(const View& view, int64_t offset, int64_t n, C* buffer) {
  if (view.dtype == kNative<C>) return static_cast<const C*>(view.data) + offset;
  load_block(view.dtype, view.data, offset, n, buffer);
  return buffer;
}

// The reverse; integers wrap, a boolean is "not zero".
template <class C>
inline void store_block(DType dtype, const C* from, int64_t n, void* data, int64_t offset) {
  switch (dtype) {
    case DType::f32:
      return convert_block(from, n, at<float>(data, offset));
    case DType::f64:
      return convert_block(from, n, at<double>(data, offset));
    case DType::f16:
      if constexpr (std::is_same_v<C, float>)
        return narrow_block(from, n, at<Float16>(data, offset));
      break;
    case DType::bf16:
      if constexpr (std::is_same_v<C, float>)
        return narrow_block(from, n, at<BFloat16>(data, offset));
      break;
    case DType::i32:
      return convert_block(from, n, at<int32_t>(data, offset));
    case DType::i64:
      return convert_block(from, n, at<int64_t>(data, offset));
    case DType::u8:
      return convert_block(from, n, at<uint8_t>(data, offset));
    case DType::boolean:
      for (int64_t i = 0; i < n; ++i) at<int8_t>(data, offset)[i] = from[i] != 0;
      return;
  }
  require(false, "store_block: a 16-bit float is computed in float32");
}
