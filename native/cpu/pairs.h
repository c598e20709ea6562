// Two vectors of accumulators at a time, from and to storage. For loops that do the same to every
// element: the lanes need not be in order, only the same in load_pair and store_pair, which halves
// the unpacking of bfloat16 (even elements are the low halves of 32-bit words, odd ones the high).
// store_pair expects no NaN but a default one. Included inside a target's namespace.

template <class Real>
struct Pair {
  vector_t<Real> a, b;
};

template <class T>
constexpr int64_t kPair = 2 * kLanes<accumulator_t<T>>;

template <class T>
inline Pair<accumulator_t<T>> load_pair(const T* p) {
  return {load_wide(p), load_wide(p + kPair<T> / 2)};
}
template <class T>
inline void store_pair(T* p, Pair<accumulator_t<T>> v) {
  store_narrow(p, v.a);
  store_narrow(p + kPair<T> / 2, v.b);
}
// To an address aligned to kPair<T> elements; see stream_narrow.
template <class T>
inline void stream_pair(T* p, Pair<accumulator_t<T>> v) {
  stream_narrow(p, v.a);
  stream_narrow(p + kPair<T> / 2, v.b);
}

#ifdef SURPRISAL_TARGET_AVX2
inline __m256i rounded_in_place(F32 x) {
  const __m256i u = _mm256_castps_si256(x);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
  return _mm256_add_epi32(u, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
}
inline __m256i even_and_odd(Pair<float> v) {
  const __m256i even = _mm256_srli_epi32(rounded_in_place(v.a), 16);
  return _mm256_blend_epi16(even, rounded_in_place(v.b), 0xaa);
}
template <>
inline Pair<float> load_pair(const BFloat16* p) {
  const __m256i words = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return {_mm256_castsi256_ps(_mm256_slli_epi32(words, 16)),
          _mm256_castsi256_ps(_mm256_and_si256(words, _mm256_set1_epi32(int32_t(0xffff0000))))};
}
template <>
inline void store_pair(BFloat16* p, Pair<float> v) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), even_and_odd(v));
}
template <>
inline void stream_pair(BFloat16* p, Pair<float> v) {
  _mm256_stream_si256(reinterpret_cast<__m256i*>(p), even_and_odd(v));
}
#endif
