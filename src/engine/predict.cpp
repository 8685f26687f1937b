// Masks of prompts: one task per prompt on workers, or batches of prompts on a device.
#include <ATen/Functions.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/memory.h"
#include "core/trace.h"
#include "engine/batches.h"
#include "engine/segmenter.h"
#include "engine/prompt_masks.h"
#include "kernels/transfer/op.h"

namespace segrid {
namespace {

// The result of one call while it is filled: a place for every mask, in prompt order.
class Answers {
public:
    Answers(const SegmentationModel& model, const Embedding& e, const std::vector<Prompt>& prompts,
            const PredictOptions& options)
        : embedding(e),
          prompts(prompts),
          rules{.threshold = static_cast<float>(options.mask_threshold),
                .max_hole_area = options.max_hole_area,
                .max_sprinkle_area = options.max_sprinkle_area},
          each(options.multimask ? model.multimask_outputs() : 1),
          low(model.low_res()) {
        out.masks = MaskSet(e.image());
        out.masks.masks().resize(prompts.size() * static_cast<std::size_t>(each));
        const std::size_t bytes =
            out.masks.masks().size() * static_cast<std::size_t>(low.area()) * sizeof(float);
        if (bytes <= kMaxLowResBytes)
            out.low_res =
                at::empty({static_cast<int64_t>(out.masks.masks().size()), low.height, low.width});
    }

    void keep(int64_t p, int64_t m, Mask mask) {
        out.masks.masks()[static_cast<std::size_t>(p * each + m)] = std::move(mask);
    }
    void keep_logits(int64_t p, int64_t m, const float* logits) {
        if (out.low_res.defined())
            std::copy_n(logits, low.area(),
                        out.low_res.mutable_data_ptr<float>() + (p * each + m) * low.area());
    }
    const Prompt& prompt(int64_t p) const { return prompts[static_cast<std::size_t>(p)]; }
    MaskOrigin origin(int64_t p) const { return origin_of(prompt(p), p); }

    const Embedding& embedding;
    const std::vector<Prompt>& prompts;
    MaskRules rules;
    int64_t each;
    Size low;
    Predicted out;
};

void by_prompts(const SegmentationModel& model, Answers& answers, const PredictOptions& options,
                const Schedule& schedule) {
    const int64_t count = static_cast<int64_t>(answers.prompts.size());
    const PromptMasks way(model, answers.embedding, answers.rules);
    const DecodeRequest request{.multimask = options.multimask, .object_score = true};
    const int workers =
        schedule.max_workers > 0 ? std::min(schedule.max_workers, threads()) : threads();
    Schedule outer = schedule, inner = schedule;
    const int at_once = options.batch_size > 0
                            ? static_cast<int>(std::min<int64_t>(workers, options.batch_size))
                            : workers;
    if (at_once < workers) outer.max_workers = at_once;
    if (at_once == threads()) {  // if prompts are few, idle workers share the others' steps
        inner.max_workers = 0;
        inner.share = count < 2 * workers;
    } else {  // with a limit, each prompt gets an equal part of the workers
        inner.max_workers =
            static_cast<int>(std::max<int64_t>(1, workers / std::min<int64_t>(count, at_once)));
        inner.share = inner.max_workers > 1;
    }
    parallel_for(count, outer, [&](int64_t p, Worker& worker) {
        Span span("decode", p);
        const auto masks = way.decode(answers.prompt(p), request, inner, worker.arena);
        span.end();
        parallel_for(static_cast<int64_t>(masks.size()), inner, [&](int64_t m, Worker& helper) {
            const Span scanning("scan", p);
            const DecodedMask& decoded = masks[static_cast<std::size_t>(m)];
            thread_local Runs runs;  // reused by all masks of a worker; the mask gets its own copy
            Mask mask = way.scan(decoded, answers.origin(p), runs, helper.arena);
            mask.runs = Runs(runs.begin(), runs.end());
            answers.keep(p, m, std::move(mask));
            answers.keep_logits(p, m, decoded.logits);
        });
    });
}

// The masks of a batch of prompts whose runs are on their way to the host.
struct Arriving {
    int64_t first;  // the batch's first prompt
    std::vector<BatchMask> of;
    PromptMaskBatches::Scanned scanned;
    Download runs;

    void keep(Answers& answers) {
        std::vector<Runs> all = collect_runs(runs.arrived(), scanned.found.counts);
        for (std::size_t i = 0; i < of.size(); ++i) {
            scanned.masks[i].runs = std::move(all[i]);
            answers.keep(first + of[i].prompt, of[i].number, std::move(scanned.masks[i]));
        }
    }
};

void by_batches(const SegmentationModel& model, Answers& answers, const PredictOptions& options,
                const Schedule& schedule) {
    const DecodeRequest request{.multimask = options.multimask, .object_score = true};
    DeviceBudget budget(model, 1, options.batch_size);
    std::optional<PromptMaskBatches> way;
    std::optional<Arriving> before;
    const auto keep_before = [&] {
        if (before) before->keep(answers);
        before.reset();
    };
    run_on_devices(schedule, [&] { way.emplace(model, answers.embedding, answers.rules); });
    budget.over(static_cast<int64_t>(answers.prompts.size()), schedule, answers.out.stats,
                [&](int64_t first, int64_t count) {
                    std::vector<Prompt> prompts;
                    std::vector<MaskOrigin> origins;
                    for (int64_t p = first; p < first + count; ++p) {
                        prompts.push_back(answers.prompt(p));
                        origins.push_back(answers.origin(p));
                    }
                    const DecodedBatch batch = way->decode(prompts, request);
                    keep_before();  // its runs were copied while this batch was decoded
                    at::Tensor host;
                    if (answers.out.low_res.defined())
                        host = batch.logits.to(at::kCPU).contiguous();
                    for (std::size_t i = 0; host.defined() && i < batch.masks.size(); ++i) {
                        answers.keep_logits(first + batch.masks[i].prompt, batch.masks[i].number,
                                            host.const_data_ptr<float>() +
                                                static_cast<int64_t>(i) * answers.low.area());
                    }
                    PromptMaskBatches::Scanned scanned =
                        way->scan(batch, origins, budget.scan_bytes(),
                                  [](std::size_t, const Mask&) { return true; });
                    const Download runs(at::cat(scanned.found.runs));
                    before.emplace(first, batch.masks, std::move(scanned), runs);
                });
    run_on_devices(schedule, keep_before);
}

}  // namespace

Predicted Segmenter::predict(const Embedding& given, const std::vector<Prompt>& prompts,
                             const PredictOptions& options, const Schedule& asked) const {
    if (options.batch_size < 0) invalid("predict: batch_size must be at least 1");
    if (options.max_hole_area < 0 || options.max_sprinkle_area < 0)
        invalid("predict: max_hole_area and max_sprinkle_area must be at least 0");
    if (!std::isfinite(options.mask_threshold))
        invalid("predict: mask_threshold must be a finite number");
    check_embedding(given);
    if (prompts.size() > kMaxPrompts) {
        invalid("predict: at most " + std::to_string(kMaxPrompts) + " prompts a call, got " +
                std::to_string(prompts.size()));
    }
    const Schedule schedule = capped(asked);
    const Stopwatch watch;
    const Embedding e = prepared(given, schedule);
    Answers answers(model(), e, prompts, options);
    if (model().batched()) by_batches(model(), answers, options, schedule);
    else by_prompts(model(), answers, options, schedule);
    answers.out.stats.add("predict", watch.seconds());
    answers.out.stats.peak_memory_mb = peak_resident_mb();
    return std::move(answers.out);
}

}  // namespace segrid
