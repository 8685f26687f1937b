// Loading a model of any kind: its settings, its device and precision, its id.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/memory.h"
#include "core/thread_pool.h"
#include "engine/device.h"
#include "engine/precision.h"

namespace segrid {

struct ModelSettings {
    std::string config_path, weights_path;
    std::string settings_path;       // segrid.json, or empty
    std::string device = "auto";     // see resolve_device
    std::string precision = "auto";  // see resolve_precision
    int threads = 0;                 // the most workers one call may use; 0: the whole budget
};

// Throws InvalidInput if the number of threads is below 0.
void check_settings(const ModelSettings& settings);
// Throws InvalidInput if n is below 1.
void check_threads(int n);

// A hash of config and weights: equal files give equal ids on every machine.
std::string identify(const std::string& config_path, const std::string& weights_path);

// A model with its id, device and precision. Copies of the object share the model, and each has its
// own limit on workers. Immutable after construction.
template <class Model>
class Loaded {
public:
    const Model& model() const { return *model_; }
    const std::string& model_id() const { return model_id_; }
    const std::string& device() const { return device_; }
    const std::string& precision() const { return precision_; }  // the resolved one, never "auto"
    // Names of the weights that run in int8.
    const std::vector<std::string>& quantised() const { return quantised_; }
    // The schedule with this object's limit on workers.
    Schedule capped(Schedule schedule) const {
        if (threads_ > 0) schedule.max_workers = threads_;
        return schedule;
    }

protected:
    // load: one of the functions in models/factory.h.
    template <class Load>
    Loaded(const ModelSettings& s, const Load& load) : threads_(s.threads) {
        check_settings(s);
        const ResolvedDevice device = resolve_device(s.device);
        const ResolvedPrecision precision =
            resolve_precision(s.precision, s.settings_path, device.plain);
        device_ = device.name;
        precision_ = precision.name;
        // On a worker, because ATen is single-threaded there and does not use the caller's OpenMP
        // threads, which may be missing after a fork.
        run_in_worker({}, [&] {
            auto loaded = load(s.config_path, s.weights_path, precision.execution);
            model_ = std::move(loaded.model);
            quantised_ = std::move(loaded.quantised);
            model_id_ = identify(s.config_path, s.weights_path);
        });
        give_back_memory();  // the memory that reading and packing the weights used
    }
    void cap(int threads) {
        check_threads(threads);
        threads_ = threads;
    }

private:
    std::shared_ptr<const Model> model_;
    std::string model_id_, device_, precision_;
    std::vector<std::string> quantised_;
    int threads_;
};

}  // namespace segrid
