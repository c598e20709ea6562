// The points of one problem, and the scores of its pairs. Included inside a target's namespace.

template <class A>
class Geometry {
 public:
  Geometry(const Problem& op, const Instance& one, int64_t workspace, bool x = true, bool y = true)
      : op_(op), one_(one), workspace_(workspace) {
    if (static_cast<Cost>(op.kind) == Cost::matrix) return;
    Scratch<double> centre(op.width);
    const bool centred = static_cast<Cost>(op.kind) != Cost::cosine;
    if (centred) find_centre(centre.data());
    if (x) x_.reset(new Cloud<A>(op, one.x, centred ? centre.data() : nullptr));
    if (y) y_.reset(new Cloud<A>(op, one.y, centred ? centre.data() : nullptr));
    if (op.labels) read_labels();
  }

  const Cloud<A>& x() const { return *x_; }
  const Cloud<A>& y() const { return *y_; }
  std::unique_ptr<Scores<A>> cross(bool hold = true) const {
    if (!x_) return held(new Scores<A>(op_, one_, false), hold);
    return held(new Scores<A>(op_, *x_, *y_, labels_ ? labels_->data() : nullptr), hold);
  }
  // Rows are the points of y.
  std::unique_ptr<Scores<A>> transposed(bool hold = true) const {
    if (!x_) return held(new Scores<A>(op_, one_, true), hold);
    return held(new Scores<A>(op_, *y_, *x_, labels_ ? labels_->data() + area() : nullptr), hold);
  }
  std::unique_ptr<Scores<A>> self(const Cloud<A>& cloud, bool hold = true,
                                  bool triangle = true) const {
    const A* label_cost = labels_ ? labels_->data() + 2 * area() : nullptr;
    return held(new Scores<A>(op_, cloud, cloud, label_cost, triangle), hold);
  }

 private:
  int64_t area() const { return op_.labels * op_.labels; }
  std::unique_ptr<Scores<A>> held(Scores<A>* scores, bool hold) const {
    if (hold) scores->hold(workspace_);
    return std::unique_ptr<Scores<A>>(scores);
  }

  // Any point near all of them does; every precision needs one.
  void find_centre(double* centre) const {
    std::fill_n(centre, op_.width, 0.0);
    const double inverse = 1 / double(one_.x.n + one_.y.n);
    for (const Measure* measure : {&one_.x, &one_.y}) {
      visit_float(measure->points.dtype, [&](auto tag) {
        using T = typename decltype(tag)::type;
        const T* p = static_cast<const T*>(measure->points.data) + measure->start * op_.width;
        for (int64_t i = 0; i < measure->n; ++i, p += op_.width)
          for (int64_t k = 0; k < op_.width; ++k) {
            if constexpr (std::is_same_v<T, double>) {
              centre[k] += p[k] * inverse;
            } else {
              centre[k] += to_float(p[k]) * inverse;
            }
          }
      });
    }
    // A centre that the points' own type cannot hold would round all of them.
    for (int64_t k = 0; k < op_.width; ++k) centre[k] = static_cast<A>(centre[k]);
  }

  // W, its transpose, and its symmetric part, which the self terms see.
  void read_labels() {
    const int64_t v = op_.labels;
    labels_.reset(new Scratch<A>(3 * area()));
    for (int64_t i = 0; i < v; ++i) {
      for (int64_t j = 0; j < v; ++j) {
        const double w = value_of(op_.label_cost, i * v + j);
        const double t = value_of(op_.label_cost, j * v + i);
        labels_->data()[i * v + j] = static_cast<A>(w);
        labels_->data()[area() + i * v + j] = static_cast<A>(t);
        labels_->data()[2 * area() + i * v + j] = static_cast<A>((w + t) / 2);
      }
    }
  }

  const Problem& op_;
  const Instance& one_;
  const int64_t workspace_;
  std::unique_ptr<Cloud<A>> x_, y_;
  std::unique_ptr<Scratch<A>> labels_;
};
