// AVX2 with FMA, F16C and BMI2. Included by cpu/simd.h.

inline F32 fma(F32 a, F32 b, F32 c) { return _mm256_fmadd_ps(a, b, c); }
inline F64 fma(F64 a, F64 b, F64 c) { return _mm256_fmadd_pd(a, b, c); }

// Written out, since compilers make two instructions of the comparison.
inline F32 max(F32 a, F32 b) { return _mm256_max_ps(a, b); }
inline F64 max(F64 a, F64 b) { return _mm256_max_pd(a, b); }
inline F32 min(F32 a, F32 b) { return _mm256_min_ps(a, b); }
inline F64 min(F64 a, F64 b) { return _mm256_min_pd(a, b); }

inline F32 sqrt(F32 x) { return _mm256_sqrt_ps(x); }
inline F64 sqrt(F64 x) { return _mm256_sqrt_pd(x); }

inline bool any(__m256i mask) { return !_mm256_testz_si256(mask, mask); }
inline bool any(I32 mask) { return any(reinterpret_cast<__m256i>(mask)); }
inline bool any(I64 mask) { return any(reinterpret_cast<__m256i>(mask)); }

inline F32 gather(const float* from, I32 index) {
  return _mm256_i32gather_ps(from, reinterpret_cast<__m256i>(index), 4);
}
inline I32 gather(const int32_t* from, I32 index) {
  return reinterpret_cast<I32>(_mm256_i32gather_epi32(from, reinterpret_cast<__m256i>(index), 4));
}

inline F32 load_wide(const BFloat16* p) {
  const __m128i half = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
}
inline F32 load_wide(const Float16* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}

inline __m128i narrow_bfloat16(F32 v) {
  const __m256i u = _mm256_castps_si256(v);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_add_epi32(u, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
  const __m256i nan = _mm256_or_si256(u, _mm256_set1_epi32(0x400000));
  const __m256i is_nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
  const __m256i top = _mm256_srli_epi32(_mm256_blendv_epi8(rounded, nan, is_nan), 16);
  const __m256i packed = _mm256_packus_epi32(top, top);
  return _mm256_castsi256_si128(_mm256_permute4x64_epi64(packed, 0x08));
}
inline __m128i narrow_float16(F32 v) {
  return _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
inline void store_narrow(BFloat16* p, F32 v) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), narrow_bfloat16(v));
}
inline void store_narrow(Float16* p, F32 v) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), narrow_float16(v));
}
inline void stream_narrow(float* p, F32 v) { _mm256_stream_ps(p, v); }
inline void stream_narrow(double* p, F64 v) { _mm256_stream_pd(p, v); }
inline void stream_narrow(BFloat16* p, F32 v) {
  _mm_stream_si128(reinterpret_cast<__m128i*>(p), narrow_bfloat16(v));
}
inline void stream_narrow(Float16* p, F32 v) {
  _mm_stream_si128(reinterpret_cast<__m128i*>(p), narrow_float16(v));
}
