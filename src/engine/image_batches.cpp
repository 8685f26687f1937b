#include "engine/image_batches.h"

#include <ATen/Functions.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <optional>

#include "image/preprocess.h"
#include "kernels/transfer/op.h"

namespace segrid {

ImageCrop crop_of(ImageView image, ImageBox box, const PreprocessSpec& spec) {
    return {image, box, FrameMap(image.size, box, spec)};
}

ImageCrop whole(ImageView image, const PreprocessSpec& spec) {
    const auto [height, width] = image.size;
    return crop_of(image, {0, 0, static_cast<double>(width), static_cast<double>(height)}, spec);
}

namespace {

// Some crops that are ready for the encoder: resized and, on a device, on their way there.
struct Batch {
    std::vector<ResizedImage> resized;
    std::vector<ModelInput> inputs;
    std::vector<std::unique_ptr<const Upload>> uploads;  // null where memory ran out
    double seconds = 0;                                  // of resizing
};

std::unique_ptr<const Upload> upload(const ModelInput& input, c10::Device device) {
    const std::array<int64_t, 3> sizes{input.size.height, input.size.width, 3};
    const at::Tensor host =
        input.bytes != nullptr ? at::from_blob(const_cast<uint8_t*>(input.bytes), sizes, at::kByte)
                               : at::from_blob(const_cast<float*>(input.floats), sizes, at::kFloat);
    try {
        return std::make_unique<const Upload>(host, device);
    } catch (...) {
        if (!is_out_of_memory(std::current_exception())) throw;
        return nullptr;
    }
}

Batch prepare(const std::vector<ImageCrop>& crops, std::size_t first, std::size_t count,
              const PreprocessSpec& spec, const std::optional<DeviceBudget>& budget,
              const Schedule& schedule, const std::atomic<bool>& unwanted) {
    const Stopwatch watch;
    Batch batch;
    batch.resized.reserve(count);
    for (std::size_t i = first; i < first + count && !unwanted; ++i) {
        const ImageCrop& c = crops[i];
        batch.resized.emplace_back(c.image.crop(c.box), c.frame, spec, schedule);
        batch.inputs.push_back({.size = c.frame.resized(),
                                .bytes = batch.resized.back().bytes(),
                                .floats = batch.resized.back().floats()});
        if (!budget) continue;
        batch.uploads.push_back(upload(batch.inputs.back(), budget->device()));
        batch.inputs.back().upload = batch.uploads.back().get();
    }
    batch.seconds = watch.seconds();
    return batch;
}

}  // namespace

void encode_crops(const std::vector<ImageCrop>& crops, const PreprocessSpec& spec,
                  std::optional<DeviceBudget> budget, const Schedule& schedule, Stats& stats,
                  const EncodeInputs& encode) {
    const auto most = static_cast<std::size_t>(budget ? budget->batch() : 1);
    std::atomic<bool> unwanted{false};
    Schedule beside = schedule;  // of the next batch, which is prepared on another thread
    beside.poll = nullptr;
    const auto batch_at = [&](std::size_t first, const Schedule& own) {
        return prepare(crops, first, std::min(most, crops.size() - first), spec, budget, own,
                       unwanted);
    };
    Stats batches;
    std::future<Batch> next;
    // If an exception ends this, nobody waits for the rest of a batch that is being prepared.
    const struct Ending {
        std::atomic<bool>& unwanted;
        ~Ending() { unwanted = true; }
    } ending{unwanted};
    const auto arrived = [&] {
        while (next.wait_for(std::chrono::milliseconds(20)) != std::future_status::ready)
            if (schedule.poll) schedule.poll();
        return next.get();
    };
    for (std::size_t first = 0; first < crops.size();) {
        const Batch batch = next.valid() ? arrived() : batch_at(first, schedule);
        const std::vector<ModelInput>& inputs = batch.inputs;
        const std::size_t end = first + inputs.size();
        stats.add("resize", batch.seconds);
        const Stopwatch watch;
        if (budget) {
            if (end < crops.size())
                next = std::async(std::launch::async, batch_at, end, std::cref(beside));
            budget->over(static_cast<int64_t>(inputs.size()), schedule, batches,
                         [&](int64_t begin, int64_t some) {
                             encode({inputs.begin() + begin, inputs.begin() + begin + some},
                                    first + static_cast<std::size_t>(begin));
                         });
            stats.image_batch_size = batches.batch_size;
        } else {
            encode(inputs, first);
        }
        stats.add("encode", watch.seconds());
        first = end;
    }
    stats.images_halved += batches.halved;
    stats.peak_device_mb = std::max(stats.peak_device_mb, batches.peak_device_mb);
}

}  // namespace segrid
