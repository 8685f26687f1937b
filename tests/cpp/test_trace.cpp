#include "core/trace.h"

#include <gtest/gtest.h>

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

}  // namespace
}  // namespace segrid
