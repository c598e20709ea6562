// Arrays of one kind, as many as there are; an absent one among them has no data.
#pragma once
#include <vector>

#include "core/view.h"

namespace surprisal {

using Views = std::vector<View>;

}  // namespace surprisal
