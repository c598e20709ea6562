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

typedef uint32_t Words __attribute__((vector_size(SURPRISAL_TARGET_BYTES)));
typedef uint32_t WordsAnywhere
    __attribute__((vector_size(SURPRISAL_TARGET_BYTES), aligned(2), may_alias));

inline Words rounded_in_place(F32 x) {
  const Words u = reinterpret_cast<Words>(x);
  return u + ((u >> 16 & 1) + 0x7fff);
}
inline Words even_and_odd(Pair<float> v) {
  const Words even = rounded_in_place(v.a) >> 16, odd = rounded_in_place(v.b);
#ifdef SURPRISAL_TARGET_AVX2
  return reinterpret_cast<Words>(
      _mm256_blend_epi16(reinterpret_cast<__m256i>(even), reinterpret_cast<__m256i>(odd), 0xaa));
#else
  return even | (odd & 0xffff0000);
#endif
}
template <>
inline Pair<float> load_pair(const BFloat16* p) {
  const Words words = *reinterpret_cast<const WordsAnywhere*>(p);
  return {reinterpret_cast<F32>(words << 16), reinterpret_cast<F32>(words & 0xffff0000)};
}
template <>
inline void store_pair(BFloat16* p, Pair<float> v) {
  *reinterpret_cast<WordsAnywhere*>(p) = even_and_odd(v);
}
#if defined(SURPRISAL_TARGET_AVX2) || defined(SURPRISAL_TARGET_AVX512)
template <>
inline void stream_pair(BFloat16* p, Pair<float> v) {
  stream_narrow(reinterpret_cast<float*>(p), reinterpret_cast<F32>(even_and_odd(v)));
}
#endif
