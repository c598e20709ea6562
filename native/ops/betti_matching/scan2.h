// The sweep over a 2-D image; included by kernels.h inside a target's namespace.

using surprisal::betti_matching::check_cancelled;
using surprisal::betti_matching::check_cancelled_at;
using surprisal::betti_matching::code_of_face;
using surprisal::betti_matching::coface_axis;
using surprisal::betti_matching::face_axis;
using surprisal::betti_matching::face_code;
using surprisal::betti_matching::face_step;
using surprisal::betti_matching::Grid;
using surprisal::betti_matching::is_back;
using surprisal::betti_matching::kBorder;
using surprisal::betti_matching::kCritical;
using surprisal::betti_matching::kEvent;
using surprisal::betti_matching::kOutside;
using surprisal::betti_matching::other_axis;
using surprisal::betti_matching::Scan;

constexpr int kWide = SURPRISAL_TARGET_BYTES, kInts = SURPRISAL_TARGET_BYTES / 4;
typedef int8_t Bytes __attribute__((vector_size(SURPRISAL_TARGET_BYTES)));
typedef int8_t BytesUnaligned __attribute__((vector_size(SURPRISAL_TARGET_BYTES), aligned(1)));
typedef int8_t FewBytes __attribute__((vector_size(SURPRISAL_TARGET_BYTES / 4)));

inline Bytes load_bytes(const uint8_t* p) { return *reinterpret_cast<const BytesUnaligned*>(p); }
inline void store_bytes(uint8_t* p, Bytes v) { *reinterpret_cast<BytesUnaligned*>(p) = v; }
inline void store_codes(uint8_t* p, I32 codes) {
  const FewBytes few = __builtin_convertvector(codes, FewBytes);
  std::memcpy(p, &few, sizeof few);
}
inline I32 pick(I32 mask, I32 a, I32 b) { return mask ? a : b; }
inline I32 larger(I32 a, I32 b) { return a > b ? a : b; }
inline I32 iota(int32_t first) {
  I32 v{};
  for (int i = 0; i < kInts; ++i) v[i] = first + i;
  return v;
}

// Vertices of the row that begins at `p`.
inline void vertices2(const Scan& s, int32_t p) {
  const int32_t up = s.grid->step[0];
  for (int32_t end = p + s.grid->n[1]; p < end; p += kInts) {
    const int32_t* k = s.key + p;
    const I32 c = load(k);
    const I32 is_up = load(k - up) <= c, is_left = load(k - 1) <= c, is_down = load(k + up) <= c;
    const I32 down = load(k + up) < c, right = load(k + 1) < c;
    const I32 critical = splat(int32_t{kCritical});
    const I32 after =
        pick(is_down, pick(down, splat(2), critical), pick(right, splat(3), critical));
    I32 code = pick(is_up, splat(0), pick(is_left, splat(1), after));
    const I32 offset =
        pick(is_up, splat(-up),
             pick(is_left, splat(-1), pick(is_down, down & splat(up), right & splat(1))));
    store(s.vertex_parent + p, iota(p) + offset);
    for (const int32_t* image : s.primal) {
      if (!image) continue;
      const I32 g = load(image + p);
      const I32 event =
          pick(is_up, g < load(image + p - up),
               pick(is_left, g < load(image + p - 1),
                    pick(is_down, g <= load(image + p + up), g <= load(image + p + 1))));
      code |= event & splat(int32_t{kEvent});
    }
    store_codes(s.vertex_code + p, code);
  }
}

inline I32 top2(const int32_t* k, int32_t up) {
  return larger(larger(load(k), load(k + 1)), larger(load(k + up), load(k + up + 1)));
}

// Squares whose first corner is in the row that begins at `p`.
inline void tops2(const Scan& s, int32_t p) {
  const int32_t up = s.grid->step[0], begin = p, end = p + s.grid->n[1] - 1;
  for (; p < end; p += kInts) {
    const int32_t* k = s.key + p;
    const I32 k00 = load(k), k01 = load(k + 1);
    const I32 lower = larger(load(k + up), load(k + up + 1));
    const I32 bottom = lower >= larger(k00, k01), right = k01 >= k00;
    const I32 top = larger(load(k - up), load(k - up + 1)) > k00;
    const I32 code0 = pick(bottom, splat(0),
                           pick(right, splat(1), pick(top, splat(2), splat(int32_t{kCritical}))));
    const I32 offset = pick(bottom, splat(up), pick(right, splat(1), top & splat(-up)));
    store(s.top_parent + p, iota(p) + offset);
    I32 code = code0;
    for (const int32_t* image : s.dual) {
      if (!image) continue;
      const int32_t* g = image + p;
      const I32 own = top2(g, up);
      const I32 event = pick(bottom, own > top2(g + up, up),
                             pick(right, own > top2(g + 1, up), own >= top2(g - up, up)));
      code |= event & splat(int32_t{kEvent});
    }
    store_codes(s.top_code + p, code);
  }
  // The squares on the border are the outside, which is at position 0.
  for (int32_t q : {begin - 1, end}) {
    s.top_code[q] = kBorder;
    s.top_parent[q] = 0;
  }
}

inline Bytes is(Bytes codes, int code) { return codes == static_cast<int8_t>(code); }
// Of int8_t by name: instrumented, the shift is an int still.
inline Bytes marked(Bytes mask, int bit) {
  const int8_t mark = static_cast<int8_t>(1 << bit);
  return mask & mark;
}

// Which edges of the row that begins at `p` are left over.
inline void flags2(const Scan& s, int32_t p, bool last_row) {
  const int32_t up = s.grid->step[0], end = p + s.grid->n[1];
  const Bytes bare = Bytes{} + static_cast<int8_t>(7);
  const int8_t rows = static_cast<int8_t>(last_row ? ~0x09 : ~0);
  for (int32_t q = p; q < end; q += kWide) {
    const Bytes here = load_bytes(s.vertex_code + q), below = load_bytes(s.vertex_code + q + up);
    const Bytes next = load_bytes(s.vertex_code + q + 1);
    const Bytes top = load_bytes(s.top_code + q), left = load_bytes(s.top_code + q - 1);
    const Bytes above = load_bytes(s.top_code + q - up);
    const Bytes used0 = is(here & bare, 2) | is(below & bare, 0) | is(left & bare, 1);
    const Bytes used1 =
        is(here & bare, 3) | is(next & bare, 1) | is(top & bare, 2) | is(above & bare, 0);
    const Bytes free = marked(~used0, 0) | marked(~used1, 1);
    const Bytes edges = free | marked(is(here, 2 | kEvent) | is(below, 0 | kEvent), 3) |
                        marked(is(here, 3 | kEvent) | is(next, 1 | kEvent), 4);
    const Bytes faces = free | marked(is(left, 1 | kEvent), 3) |
                        marked(is(top, 2 | kEvent) | is(above, 0 | kEvent), 4);
    const Bytes vertex = marked(is(here & bare, kCritical), 6);
    store_bytes(s.edge_flags + q, (edges & rows) | vertex);
    store_bytes(s.face_flags + q, (faces & rows) | marked(is(top & bare, kCritical), 6));
  }
  // No edge leads out of the last column, and vectors may have written beyond it.
  for (uint8_t* flags : {s.edge_flags, s.face_flags}) {
    flags[end - 1] &= static_cast<uint8_t>(~0x12);
    std::memset(flags + end, 0, 2);
  }
}

inline void scan2(const Scan& s) {
  const Grid& g = *s.grid;
  const int32_t up = g.step[0];
  for (const int32_t row : {0, g.n[0] * up, (g.n[0] + 1) * up}) {
    std::memset(s.top_code + row, kBorder, up);
    std::memset(s.top_parent + row, 0, up * sizeof(int32_t));
  }
  std::memset(s.vertex_code + (g.n[0] + 1) * up, kBorder, up);
  for (int32_t x = 0; x < g.n[0]; ++x) {
    check_cancelled();
    vertices2(s, g.at(x, 0));
    if (x + 1 < g.n[0]) tops2(s, g.at(x, 0));
  }
  // Vectors of the last rows have written on the border.
  std::memset(s.top_code + g.n[0] * up, kBorder, up);
  std::memset(s.top_parent + g.n[0] * up, 0, up * sizeof(int32_t));
  std::memset(s.vertex_code + (g.n[0] + 1) * up, kBorder, up);
  std::memset(s.edge_flags, 0, up + 1);
  std::memset(s.face_flags, 0, up + 1);
  for (int32_t x = 0; x < g.n[0]; ++x) {
    check_cancelled();
    flags2(s, g.at(x, 0), x + 1 == g.n[0]);
  }
}
