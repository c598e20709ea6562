// The sweep over a 3-D image; included by kernels.h inside a target's namespace.

inline I32 square3(const int32_t* k, int32_t a, int32_t b) {
  return larger(larger(load(k), load(k + a)), larger(load(k + b), load(k + a + b)));
}
inline I32 top3(const int32_t* k, const int32_t* step) {
  return larger(square3(k, step[1], step[2]), square3(k + step[0], step[1], step[2]));
}

// What vectors have written beyond the end of a row is border again; the rows after are to come.
inline void close_row(uint8_t* code, int32_t* parent, int32_t end) {
  std::memset(code + end, kBorder, kInts);
  std::memset(parent + end, 0, kInts * sizeof(int32_t));
}

inline void vertices3(const Scan& s, int32_t p, int32_t end) {
  const int32_t* step = s.grid->step;
  for (; p < end; p += kInts) {
    const int32_t* k = s.key + p;
    const I32 c = load(k);
    I32 code = splat(int32_t{kCritical}), offset = splat(0), event = splat(0);
    for (int a = 2; a >= 0; --a) {
      const I32 up = load(k + step[a]), found = up <= c, younger = up < c;
      code = pick(found, pick(younger, splat(3 + a), splat(int32_t{kCritical})), code);
      offset = pick(found, younger & splat(step[a]), offset);
    }
    for (const int32_t* image : s.primal) {
      if (!image) continue;
      const int32_t* g = image + p;
      const I32 own = load(g);
      I32 first{};
      for (int a = 2; a >= 0; --a)
        first = pick(I32(load(k + step[a]) <= c), I32(own <= load(g + step[a])), first);
      for (int a = 2; a >= 0; --a)
        first = pick(I32(load(k - step[a]) <= c), I32(own < load(g - step[a])), first);
      event |= first;
    }
    for (int a = 2; a >= 0; --a) {
      const I32 found = load(k - step[a]) <= c;
      code = pick(found, splat(a), code);
      offset = pick(found, splat(-step[a]), offset);
    }
    store(s.vertex_parent + p, iota(p) + offset);
    store_codes(s.vertex_code + p, code | (event & splat(int32_t{kEvent})));
  }
  close_row(s.vertex_code, s.vertex_parent, end);
}

inline void tops3(const Scan& s, int32_t p, int32_t end) {
  const int32_t* step = s.grid->step;
  for (; p < end; p += kInts) {
    const int32_t* k = s.key + p;
    const I32 value = top3(k, step);
    I32 code{}, offset{};
    for (int a = 0; a < 3; ++a) {  // the nearer faces, the first one last
      const int32_t u = step[other_axis(a, 0)], v = step[other_axis(a, 1)];
      const I32 last = square3(k, u, v) == value, older = square3(k - step[a], u, v) > value;
      code = pick(last, pick(older, splat(5 - a), splat(int32_t{kCritical})), code);
      offset = pick(last, older & splat(-step[a]), offset);
    }
    for (int a = 2; a >= 0; --a) {
      const I32 last =
          square3(k + step[a], step[other_axis(a, 0)], step[other_axis(a, 1)]) == value;
      code = pick(last, splat(a), code);
      offset = pick(last, splat(step[a]), offset);
    }
    store(s.top_parent + p, iota(p) + offset);
    I32 event{};
    for (const int32_t* image : s.dual) {
      if (!image) continue;
      const int32_t* g = image + p;
      const I32 own = top3(g, step);
      for (int a = 0; a < 3; ++a) {
        event |= I32(code == splat(a)) & I32(own > top3(g + step[a], step));
        event |= I32(code == splat(5 - a)) & I32(own >= top3(g - step[a], step));
      }
    }
    code |= event & splat(int32_t{kEvent});
    store_codes(s.top_code + p, code);
  }
  close_row(s.top_code, s.top_parent, end);
}

// First cofaces of the row's edges, last faces of its squares, whether they exist or not.
inline void faces3(const Scan& s, int32_t p, int32_t end) {
  const int32_t* step = s.grid->step;
  for (; p < end; p += kInts) {
    const int32_t* k = s.key + p;
    const I32 c = load(k);
    I32 cofaces{}, last_edges{};
    for (int a = 0; a < 3; ++a) {
      const I32 own = larger(c, load(k + step[a]));
      I32 least = splat(int32_t{kOutside}), code{};
      for (int i = 0; i < 4; ++i) {
        const int32_t* q = k + (is_back(i) ? -1 : 1) * step[coface_axis(a, i)];
        const I32 value = larger(own, larger(load(q), load(q + step[a])));
        const I32 earlier = value < least;
        code = pick(earlier, splat(i), code);
        least = pick(earlier, value, least);
      }
      cofaces |= code * (1 << 2 * a);
      const int32_t u = step[other_axis(a, 0)], v = step[other_axis(a, 1)];
      const I32 far = larger(load(k + u), load(k + u + v)), side = load(k + v);
      const I32 last = far >= larger(c, side);
      last_edges |= pick(last, splat(3), pick(I32(side >= c), splat(2), splat(1))) * (1 << 2 * a);
    }
    store_codes(s.coface + p, cofaces);
    store_codes(s.last_edge + p, last_edges);
  }
}

// Where the two bits of an axis or type hold a code.
inline Bytes holds(const uint8_t* codes, int a, int code) {
  const int8_t both = static_cast<int8_t>(3 << 2 * a);  // as scan2.h's mark
  return is(load_bytes(codes) & both, code << 2 * a);
}

inline void flags3(const Scan& s, int32_t p, int32_t end, bool last_x, bool last_y) {
  const int32_t* step = s.grid->step;
  const Bytes bare = Bytes{} + static_cast<int8_t>(7);
  // Edges and squares that lead out of the grid.
  const int edges_out = (last_x ? 0x09 : 0) | (last_y ? 0x12 : 0);
  const int faces_out = (last_x ? 0x36 : 0) | (last_y ? 0x2d : 0);
  const Bytes edges_in = Bytes{} + static_cast<int8_t>(~edges_out);
  const Bytes faces_in = Bytes{} + static_cast<int8_t>(~faces_out);
  for (int32_t q = p; q < end; q += kWide) {
    const Bytes here = load_bytes(s.vertex_code + q), top = load_bytes(s.top_code + q);
    Bytes edges{}, faces{}, paired{};
    for (int a = 0; a < 3; ++a) {
      const Bytes next = load_bytes(s.vertex_code + q + step[a]);
      const Bytes back = load_bytes(s.top_code + q - step[a]);
      const Bytes ends_vertex = is(here & bare, 3 + a) | is(next & bare, a);
      Bytes with_square{};
      for (int i = 0; i < 4; ++i) {
        const int other = coface_axis(a, i);
        const uint8_t* last = s.last_edge + q - (is_back(i) ? step[other] : 0);
        if (face_code(a, i) == 0) continue;
        with_square |= holds(s.coface + q, a, i) & holds(last, 3 - a - other, face_code(a, i));
      }
      edges |= marked(~(ends_vertex | with_square), a);
      edges |= marked(is(here, (3 + a) | kEvent) | is(next, a | kEvent), a + 3);
      Bytes with_edge{};
      for (int face = 1; face < 4; ++face) {
        const int at = face_step(a, face);
        const uint8_t* coface = s.coface + q + (at < 0 ? 0 : step[at]);
        with_edge |= holds(s.last_edge + q, a, face) &
                     holds(coface, face_axis(a, face), code_of_face(a, face));
      }
      const Bytes born = is(back & bare, a) | is(top & bare, 5 - a);
      faces |= marked(~(born | with_edge), a);
      faces |= marked(is(back, a | kEvent) | is(top, (5 - a) | kEvent), a + 3);
      paired |= marked(with_edge, a) | marked(ends_vertex, a + 3);
    }
    const Bytes squares = Bytes{} + static_cast<int8_t>(7), ends = ~squares;
    store_bytes(s.paired + q, paired & ((faces_in & squares) | (edges_in & ends)));
    store_bytes(s.edge_flags + q, (edges & edges_in) | marked(is(here & bare, kCritical), 6));
    store_bytes(s.face_flags + q, (faces & faces_in) | marked(is(top & bare, kCritical), 6));
  }
  s.edge_flags[end - 1] &= static_cast<uint8_t>(~0x24);
  s.face_flags[end - 1] &= static_cast<uint8_t>(~0x1b);
  s.paired[end - 1] &= static_cast<uint8_t>(~0x23);
  for (uint8_t* flags : {s.edge_flags, s.face_flags, s.paired}) std::memset(flags + end, 0, kWide);
}

inline void scan3(const Scan& s) {
  const Grid& g = *s.grid;
  const int64_t bytes = g.size + 64;
  for (uint8_t* codes : {s.vertex_code, s.top_code}) std::memset(codes, kBorder, bytes);
  std::memset(s.top_parent, 0, bytes * sizeof(int32_t));
  for (uint8_t* flags : {s.edge_flags, s.face_flags, s.paired}) std::memset(flags, 0, bytes);
  for (uint8_t* codes : {s.coface, s.last_edge}) std::memset(codes, 0, bytes);
  for (int32_t x = 0; x < g.n[0]; ++x) {
    check_cancelled();
    for (int32_t y = 0; y < g.n[1]; ++y) {
      const int32_t p = g.at(x, y, 0);
      vertices3(s, p, p + g.n[2]);
      if (x + 1 < g.n[0] && y + 1 < g.n[1]) tops3(s, p, p + g.n[2] - 1);
      faces3(s, p, p + g.n[2]);
    }
  }
  for (int32_t x = 0; x < g.n[0]; ++x) {
    check_cancelled();
    for (int32_t y = 0; y < g.n[1]; ++y) {
      const int32_t p = g.at(x, y, 0);
      flags3(s, p, p + g.n[2], x + 1 == g.n[0], y + 1 == g.n[1]);
    }
  }
}
