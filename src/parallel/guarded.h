// Guarded<T>: a value that can only be reached while its lock is held.
#pragma once

#include <condition_variable>
#include <mutex>
#include <utility>

namespace cairn::parallel {

// Thread-safe. lock() gives a pointer-like access that releases the lock when it is destroyed.
template <typename T, typename Mutex = std::mutex>
class Guarded {
 public:
  class Access {
   public:
    T* operator->() { return value_; }
    T& operator*() { return *value_; }
    // Waits until ready(value) is true; the lock is released while waiting.
    template <typename Ready>
    void wait(std::condition_variable& changed, Ready ready) {
      changed.wait(lock_, [&] { return ready(*value_); });
    }

   private:
    friend class Guarded;
    Access(Mutex& mutex, T& value) : lock_(mutex), value_(&value) {}
    std::unique_lock<Mutex> lock_;
    T* value_;
  };

  template <typename... Args>
  explicit Guarded(Args&&... args) : value_(std::forward<Args>(args)...) {}
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;

  [[nodiscard]] Access lock() { return Access(mutex_, value_); }

 private:
  Mutex mutex_;
  T value_;
};

}  // namespace cairn::parallel
