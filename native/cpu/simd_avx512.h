// AVX-512 F, BW, DQ and VL, beside what cpu/simd_avx2.h needs. Of its extensions BF16 is not used,
// whose conversions take subnormal numbers for zeros, nor VNNI, which multiplies bytes. Included by
// cpu/simd.h.

inline F32 fma(F32 a, F32 b, F32 c) { return _mm512_fmadd_ps(a, b, c); }
inline F64 fma(F64 a, F64 b, F64 c) { return _mm512_fmadd_pd(a, b, c); }

inline F32 max(F32 a, F32 b) { return _mm512_max_ps(a, b); }
inline F64 max(F64 a, F64 b) { return _mm512_max_pd(a, b); }
inline F32 min(F32 a, F32 b) { return _mm512_min_ps(a, b); }
inline F64 min(F64 a, F64 b) { return _mm512_min_pd(a, b); }

inline F32 sqrt(F32 x) { return _mm512_sqrt_ps(x); }
inline F64 sqrt(F64 x) { return _mm512_sqrt_pd(x); }

inline bool any(__m512i mask) { return _mm512_test_epi64_mask(mask, mask) != 0; }
inline bool any(I32 mask) { return any(reinterpret_cast<__m512i>(mask)); }
inline bool any(I64 mask) { return any(reinterpret_cast<__m512i>(mask)); }

inline F32 gather(const float* from, I32 index) {
  return _mm512_i32gather_ps(reinterpret_cast<__m512i>(index), from, 4);
}
inline I32 gather(const int32_t* from, I32 index) {
  return reinterpret_cast<I32>(_mm512_i32gather_epi32(reinterpret_cast<__m512i>(index), from, 4));
}

inline void interleave(F32 a, F32 b, F32* to) {
  const __m512i low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  const __m512i high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
  to[0] = _mm512_permutex2var_ps(a, low, b), to[1] = _mm512_permutex2var_ps(a, high, b);
}

inline F32 load_wide(const BFloat16* p) {
  const __m256i half = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}
inline F32 load_wide(const Float16* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}

inline __m256i narrow_bfloat16(F32 v) {
  const __m512i u = _mm512_castps_si512(v);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_add_epi32(u, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  const __m512i nan = _mm512_or_si512(u, _mm512_set1_epi32(0x400000));
  const __mmask16 is_nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
  return _mm512_cvtepi32_epi16(
      _mm512_srli_epi32(_mm512_mask_blend_epi32(is_nan, rounded, nan), 16));
}
inline __m256i narrow_float16(F32 v) {
  return _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
inline void store_narrow(BFloat16* p, F32 v) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), narrow_bfloat16(v));
}
inline void store_narrow(Float16* p, F32 v) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), narrow_float16(v));
}
inline void stream_narrow(float* p, F32 v) { _mm512_stream_ps(p, v); }
inline void stream_narrow(double* p, F64 v) { _mm512_stream_pd(p, v); }
inline void stream_narrow(BFloat16* p, F32 v) {
  _mm256_stream_si256(reinterpret_cast<__m256i*>(p), narrow_bfloat16(v));
}
inline void stream_narrow(Float16* p, F32 v) {
  _mm256_stream_si256(reinterpret_cast<__m256i*>(p), narrow_float16(v));
}
