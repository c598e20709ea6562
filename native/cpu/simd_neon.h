// NEON, which every aarch64 machine has. Comparisons stay the compiler's: fmax returns the number
// where the other operand is NaN. Included by cpu/simd.h.

inline F32 fma(F32 a, F32 b, F32 c) { return vfmaq_f32(c, a, b); }
inline F64 fma(F64 a, F64 b, F64 c) { return vfmaq_f64(c, a, b); }

inline F32 max(F32 a, F32 b) { return a > b ? a : b; }
inline F64 max(F64 a, F64 b) { return a > b ? a : b; }
inline F32 min(F32 a, F32 b) { return a < b ? a : b; }
inline F64 min(F64 a, F64 b) { return a < b ? a : b; }

inline F32 sqrt(F32 x) { return vsqrtq_f32(x); }
inline F64 sqrt(F64 x) { return vsqrtq_f64(x); }

inline bool any(I32 mask) { return vmaxvq_u32(reinterpret_cast<uint32x4_t>(mask)) != 0; }
inline bool any(I64 mask) { return any(reinterpret_cast<I32>(mask)); }

inline F32 gather(const float* from, I32 index) {
  return F32{from[index[0]], from[index[1]], from[index[2]], from[index[3]]};
}
inline I32 gather(const int32_t* from, I32 index) {
  return I32{from[index[0]], from[index[1]], from[index[2]], from[index[3]]};
}

inline void interleave(F32 a, F32 b, F32* to) {
  to[0] = vzip1q_f32(a, b), to[1] = vzip2q_f32(a, b);
}

inline F32 load_wide(const BFloat16* p) {
  return reinterpret_cast<F32>(vshll_n_u16(vld1_u16(&p->bits), 16));
}
inline F32 load_wide(const Float16* p) {
  return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(&p->bits)));
}
inline void store_narrow(BFloat16* p, F32 v) {
  const uint32x4_t u = reinterpret_cast<uint32x4_t>(v);
  const uint32x4_t odd = vandq_u32(vshrq_n_u32(u, 16), vdupq_n_u32(1));
  const uint32x4_t rounded = vaddq_u32(u, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
  const uint32x4_t nan = vorrq_u32(u, vdupq_n_u32(0x400000));
  const uint32x4_t is_number = vceqq_f32(v, v);
  vst1_u16(&p->bits, vshrn_n_u32(vbslq_u32(is_number, rounded, nan), 16));
}
inline void store_narrow(Float16* p, F32 v) {
  vst1_u16(&p->bits, vreinterpret_u16_f16(vcvt_f16_f32(v)));
}

// There are no streaming stores that C++ could name.
template <class T, class V>
inline void stream_narrow(T* p, V v) {
  store_narrow(p, v);
}
