// Keeps a trace of Triton 2.51 alive until the server has let go of its mutex.
//
// TraceManager::TraceRelease locks a mutex of the Trace, deletes what may be the last reference to
// it, and then unlocks the mutex in freed memory (server PR 8144, mended in 2.57). This library,
// preloaded into the server, has TRITONSERVER_InferenceTraceTensorNew take a release function that
// holds a reference of its own meanwhile; the traces of an ensemble's models inherit it.
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include <atomic>
#include <cstdint>
#include <memory>

namespace {

using Release = void (*)(void* trace, void* userp);
using New = void* (*)(void** trace, int level, uint64_t parent, void* activity, void* tensors,
                      Release release, void* userp);
using ApiVersion = void* (*)(uint32_t* major, uint32_t* minor);

// Of the servers whose `userp` is known to be a std::shared_ptr<Trace>*: 2.50 to 2.57 and more.
constexpr uint32_t kMajor = 1, kMinor = 34;

std::atomic<Release> server_release{nullptr};

void ReleaseKept(void* trace, void* userp)
{
  // Its control block knows how to destroy a Trace; here only the count is touched.
  const std::shared_ptr<void> kept = *static_cast<std::shared_ptr<void>*>(userp);
  server_release.load()(trace, userp);
}

bool IsKnown()
{
  const auto version = reinterpret_cast<ApiVersion>(dlsym(RTLD_NEXT, "TRITONSERVER_ApiVersion"));
  uint32_t major = 0, minor = 0;
  return version != nullptr && version(&major, &minor) == nullptr && major == kMajor &&
         minor == kMinor;
}

// Leaves what the server starts, such as its Python models, without this library.
__attribute__((constructor)) void Disinherit()
{
  const char* preloaded = getenv("LD_PRELOAD");
  const char* others = preloaded ? strchr(preloaded, ':') : nullptr;
  if (others) {
    setenv("LD_PRELOAD", others + 1, 1);
  } else {
    unsetenv("LD_PRELOAD");
  }
}

}  // namespace

extern "C" void* TRITONSERVER_InferenceTraceTensorNew(
    void** trace, int level, uint64_t parent, void* activity, void* tensors, Release release,
    void* userp)
{
  static const New next =
      reinterpret_cast<New>(dlsym(RTLD_NEXT, "TRITONSERVER_InferenceTraceTensorNew"));
  static const bool known = IsKnown();
  Release first = nullptr;
  if (known && (server_release.compare_exchange_strong(first, release) || first == release)) {
    release = ReleaseKept;
  }
  return next(trace, level, parent, activity, tensors, release, userp);
}
