// Conversion in blocks through one of three wide types (float, double, int64_t), which holds every
// value of its class exactly: 8 readers, 9 conversions and 8 writers instead of 64 pairs.
namespace cast {

using ::surprisal::cast::Cast;

constexpr int64_t kBlock = 2048;

inline void widen(const View& a, int64_t begin, int64_t n, float* wide) {
  const auto convert = [&](const auto* p) {
    int64_t i = 0;
    for (; i + kLanes<float> <= n; i += kLanes<float>) store(wide + i, load_wide(p + i));
    for (; i < n; ++i) wide[i] = to_float(p[i]);
  };
  if (a.dtype == DType::f32) return convert(a.as<float>() + begin);
  if (a.dtype == DType::bf16) return convert(a.as<BFloat16>() + begin);
  convert(a.as<Float16>() + begin);
}
inline void widen(const View& a, int64_t begin, int64_t n, double* wide) {
  std::memcpy(wide, a.as<double>() + begin, n * sizeof(double));
}
inline void widen(const View& a, int64_t begin, int64_t n, int64_t* wide) {
  const auto convert = [&](const auto* p) {
    for (int64_t i = 0; i < n; ++i) wide[i] = p[i];
  };
  if (a.dtype == DType::i64) return convert(a.as<int64_t>() + begin);
  if (a.dtype == DType::i32) return convert(a.as<int32_t>() + begin);
  if (a.dtype == DType::u8) return convert(a.as<uint8_t>() + begin);
  convert(a.as<int8_t>() + begin);
}

inline void narrow(const float* wide, int64_t n, const View& out, int64_t begin) {
  const auto convert = [&](auto* p) {
    using T = std::remove_pointer_t<decltype(p)>;
    int64_t i = 0;
    for (; i + kLanes<float> <= n; i += kLanes<float>) store_narrow(p + i, load(wide + i));
    for (; i < n; ++i) p[i] = from_float<T>(wide[i]);
  };
  if (out.dtype == DType::f32) return convert(out.as<float>() + begin);
  if (out.dtype == DType::bf16) return convert(out.as<BFloat16>() + begin);
  convert(out.as<Float16>() + begin);
}
inline void narrow(const double* wide, int64_t n, const View& out, int64_t begin) {
  std::memcpy(out.as<double>() + begin, wide, n * sizeof(double));
}

template <class Wide>
inline void to_integer(const Wide* wide, int64_t n, const View& out, int64_t begin) {
  if constexpr (std::is_same_v<Wide, int64_t>) {
    if (out.dtype == DType::u8) {
      uint8_t* p = out.as<uint8_t>() + begin;
      for (int64_t i = 0; i < n; ++i) p[i] = static_cast<uint8_t>(wide[i]);
    } else if (out.dtype == DType::i32) {
      int32_t* p = out.as<int32_t>() + begin;
      for (int64_t i = 0; i < n; ++i) p[i] = static_cast<int32_t>(static_cast<uint32_t>(wide[i]));
    } else {
      std::memcpy(out.as<int64_t>() + begin, wide, n * sizeof(int64_t));
    }
  } else if (out.dtype == DType::u8) {
    uint8_t* p = out.as<uint8_t>() + begin;
    for (int64_t i = 0; i < n; ++i)
      p[i] = static_cast<uint8_t>(std::clamp<int32_t>(saturate<int32_t>(wide[i]), 0, 255));
  } else if (out.dtype == DType::i32) {
    int32_t* p = out.as<int32_t>() + begin;
    for (int64_t i = 0; i < n; ++i) p[i] = saturate<int32_t>(wide[i]);
  } else {
    int64_t* p = out.as<int64_t>() + begin;
    for (int64_t i = 0; i < n; ++i) p[i] = saturate<int64_t>(wide[i]);
  }
}

template <class Wide>
inline void write(const Wide* wide, int64_t n, const View& out, int64_t begin) {
  if (out.dtype == DType::boolean) {
    int8_t* p = out.as<int8_t>() + begin;
    for (int64_t i = 0; i < n; ++i) p[i] = wide[i] != 0;
    return;
  }
  if (out.dtype == DType::f64) {
    double* p = out.as<double>() + begin;
    for (int64_t i = 0; i < n; ++i) p[i] = static_cast<double>(wide[i]);
    return;
  }
  if (out.dtype == DType::f32 || out.dtype == DType::bf16 || out.dtype == DType::f16) {
    if constexpr (std::is_same_v<Wide, float>) return narrow(wide, n, out, begin);
    float single[kBlock];
    for (int64_t i = 0; i < n; ++i) single[i] = static_cast<float>(wide[i]);
    return narrow(single, n, out, begin);
  }
  to_integer(wide, n, out, begin);
}

template <class Wide>
void convert_all(const Cast& op) {
  parallel_for((op.a.size + kBlock - 1) / kBlock, 8, [&](int64_t first, int64_t last) {
    Wide wide[kBlock];
    for (int64_t block = first; block < last; ++block) {
      const int64_t begin = block * kBlock;
      const int64_t n = std::min(kBlock, op.a.size - begin);
      widen(op.a, begin, n, wide);
      write(wide, n, op.out, begin);
    }
  });
}

inline void convert(const Cast& op) {
  switch (op.a.dtype) {
    case DType::f64:
      return convert_all<double>(op);
    case DType::f32:
    case DType::bf16:
    case DType::f16:
      return convert_all<float>(op);
    default:
      return convert_all<int64_t>(op);
  }
}

}  // namespace cast
