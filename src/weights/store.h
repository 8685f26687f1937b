// Named weights for building a model: typed, checked, and all faults of a file in one message.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "core/precision.h"
#include "weights/safetensors.h"

namespace segrid {

// Used by one thread while a model loads; then finish() and drop it. Tensors keep only their own memory alive.
class WeightStore {
public:
    explicit WeightStore(SafeTensors file);

    // fp32, contiguous, on the CPU; fp16 and bf16 are converted. The tensor may share memory with the file's buffer: read only.
    // A name that is missing, has another shape, another dtype or holds NaN or Inf is recorded, and zeros of the expected shape
    // are returned, so that one load finds every fault; finish() throws.
    at::Tensor take(const std::string& name, const std::vector<int64_t>& expected_shape);
    bool has(const std::string& name) const { return file_.has(name); }
    // Empty when missing. For models that infer sizes from their weights.
    std::vector<int64_t> shape(const std::string& name) const;
    const std::string& path() const { return file_.path(); }

    // Throws Corrupt, listing all missing, unexpected, wrongly shaped and non-finite tensors, when there is any; a model must not be
    // used before this returned. Tensors that were never taken are unexpected unless their name begins with one of ignore_prefixes.
    void finish(const std::vector<std::string>& ignore_prefixes = {}) const;

private:
    SafeTensors file_;
    std::set<std::string> taken_, missing_;
    std::map<std::string, std::string> wrong_;  // name -> what is wrong with it
};

// A place in the tree of names: Scope(store) / "vision_encoder" / "layers" / 3, then .tensor("weight", {768, 768}).
// Does not own the store.
class Scope {
public:
    explicit Scope(WeightStore& store, Precision precision = Precision::Fp32, std::string prefix = "")
        : store_(&store), precision_(precision), prefix_(std::move(prefix)) {}

    Scope operator/(const std::string& name) const { return Scope(*store_, precision_, full(name)); }
    Scope operator/(int64_t index) const { return *this / std::to_string(index); }
    at::Tensor tensor(const std::string& name, const std::vector<int64_t>& shape) const { return store_->take(full(name), shape); }
    bool has(const std::string& name) const { return store_->has(full(name)); }
    std::vector<int64_t> shape(const std::string& name) const { return store_->shape(full(name)); }
    const std::string& prefix() const { return prefix_; }
    // What the products of the layers built from here run in.
    Precision precision() const { return precision_; }
    Scope in(Precision precision) const { return Scope(*store_, precision, prefix_); }
    WeightStore& store() const { return *store_; }

private:
    std::string full(const std::string& name) const { return prefix_.empty() ? name : prefix_ + "." + name; }

    WeightStore* store_;
    Precision precision_;
    std::string prefix_;
};

}  // namespace segrid
