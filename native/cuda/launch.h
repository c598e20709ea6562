// launch(stream, kernel<T>, {blocks, threads}, params): how a typed kernel and its arguments become
// the untyped call that both runtimes take. Kernels take their parameters by value.
#pragma once
#include <tuple>
#include <utility>

#include "cuda/device.h"
#include "cuda/runtime.h"

namespace surprisal::cuda {
namespace detail {

template <class... P, size_t... I>
void call_kernel(void (*kernel)(P...), void** arguments, std::index_sequence<I...>) {
  kernel(*static_cast<P*>(arguments[I])...);
}

}  // namespace detail

// An empty grid is no launch.
template <class... Parameters, class... Arguments>
void launch(Stream& stream, void (*kernel)(Parameters...), const Shape& shape,
            Arguments&&... arguments) {
  static_assert((std::is_trivially_copyable_v<Parameters> && ...),
                "parameters are copied to the device as bytes");
  if (shape.blocks == 0) return;
  std::tuple<Parameters...> values{std::forward<Arguments>(arguments)...};
  std::apply(
      [&](Parameters&... value) {
        void* pointers[] = {&value..., nullptr};
        constexpr size_t kSizes[] = {sizeof(Parameters)..., 0};
        using Kernel = void (*)(Parameters...);
#if defined(SURPRISAL_EMULATOR)
        const auto emulate = +[](const void* k, void** a) {
          detail::call_kernel(reinterpret_cast<Kernel>(const_cast<void*>(k)), a,
                              std::index_sequence_for<Parameters...>{});
        };
#else
        void (*const emulate)(const void*, void**) = nullptr;
#endif
        stream.launch_kernel(reinterpret_cast<const void*>(static_cast<Kernel>(kernel)), shape,
                             pointers, emulate, kSizes, sizeof...(Parameters));
      },
      values);
}

}  // namespace surprisal::cuda
