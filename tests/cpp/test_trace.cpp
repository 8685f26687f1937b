#include "core/trace.h"

#include <gtest/gtest.h>

#include <map>
#include <string>

#include "core/error.h"
#include "core/thread_pool.h"

namespace segrid {
namespace {

TEST(Trace, RecordsWhileWorkersComeAndGo) {
    for (int round = 0; round < 30; ++round) {
        if (round % 3 == 0) shutdown_pool();
        trace::start();
        parallel_for(200, {}, [](int64_t i, Worker&) {
            Span span("task", i);
            span.next("rest");
        });
        const auto recording = trace::stop();
        EXPECT_EQ(recording.events.size(), 400U);
        parallel_for(20, {},
                     [](int64_t i, Worker&) { const Span span("task", i); });  // no recording
    }
}

TEST(Trace, ASpanThatOutlivesItsRecordingIsNotInTheNext) {
    trace::start();
    {
        const Span span("long");
        EXPECT_THROW(trace::start(), Error);
        EXPECT_TRUE(trace::stop().events.empty());
        trace::start();
    }
    EXPECT_TRUE(trace::stop().events.empty());
}

TEST(Trace, ASpanHoldsTheProductsOfItsThreadAndOfNoOther) {
    trace::start();
    {
        const Span outer("outer");
        trace::count_product(Precision::Fp32, 5);
        const Span inner("inner");
        trace::count_product(Precision::Int8, 7);
        parallel_for(1, {}, [](int64_t, Worker&) {
            const Span task("task");
            trace::count_product(Precision::Bf16, 11);
        });
    }
    std::map<std::string, MultiplyAdds> found;
    for (const TraceEvent& e : trace::stop().events) found[e.name] = e.products;
    EXPECT_EQ(found.at("outer"), (MultiplyAdds{5, 0, 7, 0}));
    EXPECT_EQ(found.at("inner"), (MultiplyAdds{0, 0, 7, 0}));
    EXPECT_EQ(found.at("task"), (MultiplyAdds{0, 11, 0, 0}));
    trace::count_product(Precision::Fp32, 3);  // no recording
    trace::start();
    { const Span span("next"); }
    EXPECT_EQ(trace::stop().events.at(0).products, MultiplyAdds{});
}

}  // namespace
}  // namespace segrid
