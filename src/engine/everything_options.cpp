#include "engine/everything_options.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "core/error.h"
#include "prompts/grid.h"

namespace segrid {
namespace {

std::vector<std::vector<ImagePoint>> grids_of(const EverythingOptions& o, int64_t layers) {
    if (!o.point_grids.empty()) return o.point_grids;
    return build_all_layer_point_grids(o.points_per_side, layers, o.crop_n_points_downscale_factor);
}

// The points of all crops up to a layer; -1 where a layer has none.
int64_t points_up_to(const EverythingOptions& o, int64_t layers) {
    int64_t total = 0;
    for (int64_t layer = 0; layer <= layers; ++layer) {
        const int64_t side =
            points_per_side_of_layer(o.points_per_side, layer, o.crop_n_points_downscale_factor);
        if (side < 1) return -1;
        total += (int64_t{1} << (2 * layer)) * side * side;
    }
    return total;
}

bool has_area(const ImageBox& box) { return box.x0 < box.x1 && box.y0 < box.y1; }

// The layers of narrow images end before a crop would be empty.
int64_t layers_with_area(Size image, int64_t layers, double overlap_ratio) {
    while (layers > 0) {
        const std::vector<ImageBox> boxes = generate_crop_boxes(image, layers, overlap_ratio).boxes;
        if (std::all_of(boxes.begin(), boxes.end(), has_area)) break;
        --layers;
    }
    return layers;
}

int64_t crop_layers(const EverythingOptions& o, Size image, std::optional<double> working_scale) {
    if (o.crop_n_layers) return *o.crop_n_layers;
    if (!working_scale) return 0;
    int64_t most = kMaxCropLayers;
    if (!o.point_grids.empty()) {
        most = std::min(most, static_cast<int64_t>(o.point_grids.size()) - 1);
    } else {
        while (most > 0) {
            const int64_t total = points_up_to(o, most);
            if (total >= 0 && total <= kMaxGridPoints) break;
            --most;
        }
    }
    const int64_t wanted = crop_layers_for(image, *working_scale, o.crop_overlap_ratio, most);
    return layers_with_area(image, wanted, o.crop_overlap_ratio);
}

void check_crops(const CropPlan& crops) {
    for (std::size_t i = 0; i < crops.boxes.size(); ++i) {
        if (has_area(crops.boxes[i])) continue;
        invalid("crop_n_layers: a crop of layer " + std::to_string(crops.layers[i]) +
                " would be empty because the image is too narrow; use fewer layers, or a smaller "
                "crop_overlap_ratio");
    }
}

void check_total(int64_t points) {
    if (points <= kMaxGridPoints) return;
    invalid("everything: " + std::to_string(points) + " points over all crops; the limit is " +
            std::to_string(kMaxGridPoints) +
            " (kMaxGridPoints): use fewer points per side, or fewer crop layers");
}

int64_t count_points(const std::vector<std::vector<ImagePoint>>& grids, const CropPlan& crops) {
    int64_t total = 0;
    for (const int64_t layer : crops.layers) {
        const std::size_t index = std::min(static_cast<std::size_t>(layer), grids.size() - 1);
        total += static_cast<int64_t>(grids[index].size());
    }
    check_total(total);
    return total;
}

}  // namespace

void EverythingOptions::check() const {
    const auto fraction = [](const char* name, double v) {
        if (!(v >= 0 && v <= 1))
            invalid(std::string(name) + ": must be from 0 to 1, got " + std::to_string(v));
    };
    const auto range = [](const char* name, int64_t v, int64_t low, int64_t high) {
        if (v < low || v > high) {
            invalid(std::string(name) + ": must be from " + std::to_string(low) + " to " +
                    std::to_string(high) + ", got " + std::to_string(v));
        }
    };
    const auto threshold = [&](const char* name, double v) {
        if (!any_thresholds) fraction(name, v);
        else if (std::isnan(v)) invalid(std::string(name) + ": must be a number, got NaN");
    };
    threshold("pred_iou_thresh", pred_iou_thresh);
    threshold("stability_score_thresh", stability_score_thresh);
    fraction("box_nms_thresh", box_nms_thresh);
    fraction("crop_nms_thresh", crop_nms_thresh);
    fraction("min_area_frac", min_area_frac);
    fraction("containment_thresh", containment_thresh);
    fraction("crop_containment_thresh", crop_containment_thresh);
    if (mask_iou_thresh) fraction("mask_iou_thresh", *mask_iou_thresh);
    if (!(crop_overlap_ratio >= 0 && crop_overlap_ratio < 1)) {
        invalid("crop_overlap_ratio: must be at least 0 and below 1, got " +
                std::to_string(crop_overlap_ratio));
    }
    if (!std::isfinite(stability_score_offset) || stability_score_offset < 0) {
        invalid("stability_score_offset: must be a finite number of at least 0, got " +
                std::to_string(stability_score_offset));
    }
    if (!std::isfinite(mask_threshold))
        invalid("mask_threshold: must be a finite number, got " + std::to_string(mask_threshold));
    if (point_grids.empty()) range("points_per_side", points_per_side, 1, 500);
    if (crop_n_layers) range("crop_n_layers", *crop_n_layers, 0, kMaxCropLayers);
    range("crop_n_points_downscale_factor", crop_n_points_downscale_factor, 1, 1000);
    range("min_mask_region_area", min_mask_region_area, 0, int64_t{1} << 40);
    range("max_hole_area", max_hole_area, 0, int64_t{1} << 40);
    range("max_sprinkle_area", max_sprinkle_area, 0, int64_t{1} << 40);
    if (max_masks) range("max_masks", *max_masks, 1, int64_t{1} << 40);
    range("candidate_memory", candidate_memory, 0, int64_t{1} << 50);
    if (point_grids.empty()) check_total(points_up_to(*this, crop_n_layers.value_or(0)));
    if (!point_grids.empty() &&
        static_cast<int64_t>(point_grids.size()) < crop_n_layers.value_or(0) + 1) {
        invalid("point_grids: must have one grid per crop layer: " +
                std::to_string(crop_n_layers.value_or(0) + 1) + ", got " +
                std::to_string(point_grids.size()));
    }
}

PointPlan plan_points(const EverythingOptions& options, Size image,
                      std::optional<double> working_scale) {
    PointPlan plan;
    const int64_t layers = crop_layers(options, image, working_scale);
    plan.grids = grids_of(options, layers);
    plan.crops = generate_crop_boxes(image, layers, options.crop_overlap_ratio);
    check_crops(plan.crops);
    plan.total = count_points(plan.grids, plan.crops);
    return plan;
}

}  // namespace segrid
