// What every machine of an architecture can do, in plain C++ for vectors of any width; on x86-64
// also SSE2 for those of 16 bytes. Included by cpu/simd.h.

inline F32 fma(F32 a, F32 b, F32 c) { return a * b + c; }
inline F64 fma(F64 a, F64 b, F64 c) { return a * b + c; }

inline F32 max(F32 a, F32 b) { return a > b ? a : b; }
inline F64 max(F64 a, F64 b) { return a > b ? a : b; }
inline F32 min(F32 a, F32 b) { return a < b ? a : b; }
inline F64 min(F64 a, F64 b) { return a < b ? a : b; }

inline bool any(I32 mask) {
  int32_t all = 0;
  for (int i = 0; i < kLanes<float>; ++i) all |= mask[i];
  return all != 0;
}
inline bool any(I64 mask) {
  int64_t all = 0;
  for (int i = 0; i < kLanes<double>; ++i) all |= mask[i];
  return all != 0;
}

inline F32 gather(const float* from, I32 index) {
  F32 v{};
  for (int i = 0; i < kLanes<float>; ++i) v[i] = from[index[i]];
  return v;
}
inline I32 gather(const int32_t* from, I32 index) {
  I32 v{};
  for (int i = 0; i < kLanes<float>; ++i) v[i] = from[index[i]];
  return v;
}

template <class Half>
inline F32 load_lanes(const Half* p) {
  F32 v{};
  for (int i = 0; i < kLanes<float>; ++i) v[i] = to_float(p[i]);
  return v;
}
inline F32 load_wide(const BFloat16* p) { return load_lanes(p); }
inline F32 load_wide(const Float16* p) { return load_lanes(p); }
inline void store_narrow(BFloat16* p, F32 v) {
  for (int i = 0; i < kLanes<float>; ++i) p[i] = to_bfloat16(v[i]);
}
inline void store_narrow(Float16* p, F32 v) {
  for (int i = 0; i < kLanes<float>; ++i) p[i] = to_float16(v[i]);
}
inline void stream_narrow(BFloat16* p, F32 v) { store_narrow(p, v); }
inline void stream_narrow(Float16* p, F32 v) { store_narrow(p, v); }

#if defined(__x86_64__) && SURPRISAL_TARGET_BYTES == 16
inline F32 sqrt(F32 x) { return _mm_sqrt_ps(x); }
inline F64 sqrt(F64 x) { return _mm_sqrt_pd(x); }
inline void interleave(F32 a, F32 b, F32* to) {
  to[0] = _mm_unpacklo_ps(a, b), to[1] = _mm_unpackhi_ps(a, b);
}
inline void stream_narrow(float* p, F32 v) { _mm_stream_ps(p, v); }
inline void stream_narrow(double* p, F64 v) { _mm_stream_pd(p, v); }
#else
inline F32 sqrt(F32 x) {
  for (int i = 0; i < kLanes<float>; ++i) x[i] = std::sqrt(x[i]);
  return x;
}
inline F64 sqrt(F64 x) {
  for (int i = 0; i < kLanes<double>; ++i) x[i] = std::sqrt(x[i]);
  return x;
}
inline void interleave(F32 a, F32 b, F32* to) {
  constexpr int half = kLanes<float> / 2;
  F32 low{}, high{};
  for (int i = 0; i < half; ++i) {
    low[2 * i] = a[i], low[2 * i + 1] = b[i];
    high[2 * i] = a[half + i], high[2 * i + 1] = b[half + i];
  }
  to[0] = low, to[1] = high;
}
inline void stream_narrow(float* p, F32 v) { store(p, v); }
inline void stream_narrow(double* p, F64 v) { store(p, v); }
#endif
